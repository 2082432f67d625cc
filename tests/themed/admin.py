"""Our screens over the theme's own admin class, as docs/reference/admin.md has it."""

from django.contrib import admin
from unfold.admin import ModelAdmin

from django_tasks_q.admin import JobScreens, QueueScreens, WorkerScreens
from django_tasks_q.models import Job, Queue, Worker

for model, screens in ((Job, JobScreens), (Queue, QueueScreens), (Worker, WorkerScreens)):
    admin.site.unregister(model)
    admin.site.register(model, type(f"{model.__name__}Admin", (screens, ModelAdmin), {}))
