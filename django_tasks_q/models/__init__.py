from .attempt import Attempt
from .job import Job
from .worker import Worker

__all__ = ["Attempt", "Job", "Worker"]
