from .attempt import Attempt
from .idempotency import IdempotencyKey
from .job import Job
from .log import LogLine
from .progress import Progress
from .queue import Queue
from .schedule import Firing, Schedule
from .statistic import Statistic
from .worker import Worker

__all__ = [
    "Attempt",
    "Firing",
    "IdempotencyKey",
    "Job",
    "LogLine",
    "Progress",
    "Queue",
    "Schedule",
    "Statistic",
    "Worker",
]
