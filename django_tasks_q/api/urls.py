from typing import Any

from django.urls import include, path, register_converter

from . import bulk, events, jobs, openapi, queues, schedules, stats, tasks, verbs, workers

app_name = "django_tasks_q"


class Name:
    """Any text, with line breaks too. The view refuses unknown names."""

    regex = r"(?s:.+)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(Name, "django_tasks_q_name")

# Ids are any text: for malformed ids the views return the same responses as for unknown ids.
_v1: list[Any] = [
    path("jobs/", jobs.JobList.as_view(), name="job-list"),
    *(
        path(f"jobs/bulk/{verb.slug}/", bulk.bulk_view(verb).as_view(), name=f"bulk-{verb.slug}")
        for verb in verbs.VERBS
    ),
    path("jobs/<str:pk>/", jobs.JobDetail.as_view(), name="job-detail"),
    path("jobs/<str:pk>/attempts/", jobs.JobAttempts.as_view(), name="job-attempts"),
    path("jobs/<str:pk>/logs/", jobs.JobLogs.as_view(), name="job-logs"),
    path("jobs/<str:pk>/progress/", jobs.JobProgress.as_view(), name="job-progress"),
    path("jobs/<str:pk>/events/", events.JobEvents.as_view(), name="job-events"),
    *(
        path(f"jobs/<str:pk>/{verb.slug}/", verbs.job_view(verb).as_view(), name=f"job-{verb.slug}")
        for verb in verbs.VERBS
    ),
    path("jobs/<str:pk>/run-again/", verbs.JobRunAgain.as_view(), name="job-run-again"),
    path("queues/", queues.QueueList.as_view(), name="queue-list"),
    path("queues/<django_tasks_q_name:name>/pause/", queues.QueuePause.as_view(), name="queue-pause"),
    path("queues/<django_tasks_q_name:name>/resume/", queues.QueueResume.as_view(), name="queue-resume"),
    path("queues/<django_tasks_q_name:name>/limit/", queues.QueueLimit.as_view(), name="queue-limit"),
    path("queues/<django_tasks_q_name:name>/", queues.QueueDetail.as_view(), name="queue-detail"),
    path("schedules/", schedules.ScheduleList.as_view(), name="schedule-list"),
    path(
        "schedules/<django_tasks_q_name:name>/save/", schedules.ScheduleSave.as_view(), name="schedule-save"
    ),
    *(
        path(
            f"schedules/<django_tasks_q_name:name>/{verb.name}/",
            schedules.verb_view(verb).as_view(),
            name=f"schedule-{verb.name}",
        )
        for verb in schedules.VERBS
    ),
    path("schedules/<django_tasks_q_name:name>/", schedules.ScheduleDetail.as_view(), name="schedule-detail"),
    path("workers/", workers.WorkerList.as_view(), name="worker-list"),
    path("workers/<str:pk>/", workers.WorkerDetail.as_view(), name="worker-detail"),
    path("workers/<str:pk>/stop/", workers.WorkerStop.as_view(), name="worker-stop"),
    path("stats/", stats.Stats.as_view(), name="stats"),
    path("health/", stats.Health.as_view(), name="health"),
    path("tasks/", tasks.TaskList.as_view(), name="task-list"),
    path("tasks/<django_tasks_q_name:name>/enqueue/", tasks.TaskEnqueue.as_view(), name="task-enqueue"),
    path("tasks/<django_tasks_q_name:name>/", tasks.TaskDetail.as_view(), name="task-detail"),
]
if openapi.HAS_SCHEMA:
    from .schema import SchemaView

    _v1.append(path("schema/", SchemaView.as_view(), name="schema"))

urlpatterns = [path("v1/", include(_v1))]
