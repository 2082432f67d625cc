from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("back/office/", admin.site.urls), path("rest/jobs/", include("django_tasks_q.api.urls"))]
