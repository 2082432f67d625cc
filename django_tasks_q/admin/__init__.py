"""Jobs, queues and workers in Django's admin: to look at, and to act on."""

from ..presence import has_framework

if has_framework():
    from .jobs import JobAdmin, JobScreens
    from .queues import QueueAdmin, QueueScreens
    from .workers import WorkerAdmin, WorkerScreens

    __all__ = ["JobAdmin", "JobScreens", "QueueAdmin", "QueueScreens", "WorkerAdmin", "WorkerScreens"]
