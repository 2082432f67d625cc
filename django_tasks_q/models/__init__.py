from .attempt import Attempt
from .job import Job
from .log import LogLine
from .progress import Progress
from .worker import Worker

__all__ = ["Attempt", "Job", "LogLine", "Progress", "Worker"]
