"""Jobs and workers in Django's admin, to look at."""

from .jobs import JobAdmin
from .workers import WorkerAdmin

__all__ = ["JobAdmin", "WorkerAdmin"]
