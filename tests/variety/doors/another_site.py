from django.contrib import admin
from django.urls import include, path

from django_tasks_q import models
from django_tasks_q.admin import JobScreens, QueueScreens, ScheduleScreens, WorkerScreens

site = admin.AdminSite(name="ops")
for model, screens in (
    (models.Job, JobScreens),
    (models.Queue, QueueScreens),
    (models.Schedule, ScheduleScreens),
    (models.Worker, WorkerScreens),
):
    site.register(model, type(f"Ops{screens.__name__}", (screens, admin.ModelAdmin), {}))

urlpatterns = [path("ops/", site.urls), path("api/tasks/", include("django_tasks_q.api.urls"))]
