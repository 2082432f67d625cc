from django.contrib import admin
from django.urls import include, path

from django_tasks_q import models


class EuropeanSite(admin.AdminSite):
    tasks_backend = "eu"


europe = EuropeanSite(name="eu_admin")
for model in (models.Job, models.Queue, models.Worker, models.Schedule):
    europe.register(model, type(admin.site.get_model_admin(model)))

urlpatterns = [
    path("admin/", admin.site.urls),
    path("admin-eu/", europe.urls),
    path("api/tasks/", include("django_tasks_q.api.urls")),
    path("api/eu/tasks/", include("django_tasks_q.api.urls", namespace="eu"), {"tasks_backend": "eu"}),
]
