from django.contrib import admin
from django.urls import include, path

inner = [path("api/tasks/", include("django_tasks_q.api.urls"))]
urlpatterns = [path("admin/", admin.site.urls), path("v1/", include((inner, "outer"), namespace="first"))]
