from django.contrib import admin
from django.urls import include, path

from .shop.views import progress

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/tasks/", include("django_tasks_q.api.urls")),
    path("prices/", progress, name="progress"),
]
