"""Django's admin for jobs, queues, workers and schedules: lists, pages and actions."""

from ..requirements import has_framework

if has_framework():
    from .jobs import JobAdmin, JobScreens
    from .queues import QueueAdmin, QueueScreens
    from .schedules import ScheduleAdmin, ScheduleScreens
    from .workers import WorkerAdmin, WorkerScreens

    __all__ = [
        "JobAdmin",
        "JobScreens",
        "QueueAdmin",
        "QueueScreens",
        "ScheduleAdmin",
        "ScheduleScreens",
        "WorkerAdmin",
        "WorkerScreens",
    ]
