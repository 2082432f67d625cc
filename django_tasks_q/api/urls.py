from typing import Any

from django.urls import include, path

from . import events, jobs, openapi, tasks, workers

app_name = "django_tasks_q"

# Ids are any text: one of the wrong form gets the same answer as an unknown one, by the same rules.
# Names of tasks and queues may hold a slash.
_v1: list[Any] = [
    path("jobs/", jobs.JobList.as_view(), name="job-list"),
    path("jobs/<str:pk>/", jobs.JobDetail.as_view(), name="job-detail"),
    path("jobs/<str:pk>/attempts/", jobs.JobAttempts.as_view(), name="job-attempts"),
    path("jobs/<str:pk>/logs/", jobs.JobLogs.as_view(), name="job-logs"),
    path("jobs/<str:pk>/progress/", jobs.JobProgress.as_view(), name="job-progress"),
    path("jobs/<str:pk>/events/", events.JobEvents.as_view(), name="job-events"),
    path("workers/", workers.WorkerList.as_view(), name="worker-list"),
    path("workers/<str:pk>/", workers.WorkerDetail.as_view(), name="worker-detail"),
    path("tasks/", tasks.TaskList.as_view(), name="task-list"),
    path("tasks/<path:name>/enqueue/", tasks.TaskEnqueue.as_view(), name="task-enqueue"),
    path("tasks/<path:name>/", tasks.TaskDetail.as_view(), name="task-detail"),
]
if openapi.HAS_SCHEMA:
    from .schema import SchemaView

    _v1.append(path("schema/", SchemaView.as_view(), name="schema"))

urlpatterns = [
    # The first addresses of these two, which are not in the schema.
    path("jobs/", jobs.JobList.as_view(schema=None), name="job-list"),
    path("jobs/<str:pk>/", jobs.JobDetail.as_view(schema=None), name="job-detail"),
    path("v1/", include(_v1)),  # last: it is this one that names are reversed to
]
