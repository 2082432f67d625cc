from .attempt import Attempt
from .job import Job
from .log import LogLine
from .progress import Progress
from .queue import Queue
from .statistic import Statistic
from .worker import Worker

__all__ = ["Attempt", "Job", "LogLine", "Progress", "Queue", "Statistic", "Worker"]
