"""The errors a user of the package can meet, each importable by the path that results carry."""

from datetime import timedelta
from typing import Any

from .validation import one_line, plain, seconds

#: Longest error code, in characters.
MAX_CODE = 64


class TasksQError(Exception):
    """Base class of the package's own errors. What interrupts a task is no error: see TaskTimeout."""


class UnserializableValue(TasksQError, TypeError):
    """An argument or result holds a type that JSON lacks."""


class UnstorableValue(TasksQError, ValueError):
    """An argument or result is JSON in shape, but not every database can store it."""


class DuplicateTask(TasksQError):
    """Two functions were registered under one task name."""


class TaskNotRegistered(TasksQError, LookupError):
    """A stored task name belongs to no function of this process."""


class TaskTimeout(BaseException):
    """An attempt ran longer than its ``timeout``.

    It is no Exception, so that neither ``except Exception`` nor ``except OSError`` in code between the task
    and its caller takes it for one of its failures. ``retry_on`` counts it among ``TimeoutError``.
    """


class TaskFailure(TasksQError):
    """Raised by a task, or returned, to fail with a code that others can act on.

    ``code`` is a short name such as ``MISSING_EMAIL``, which ``retry_on`` and ``dont_retry_on`` may
    name too. ``data`` is anything that JSON can hold, and is stored with the attempt. ``retry=False``
    fails the job for good, ``retry=True`` runs it again whatever the rules say of the exception, as
    long as attempts are left.
    """

    # For subclasses with a constructor of their own.
    code = "TASK_FAILURE"
    data: Any = None
    retry: bool | None = None

    def __init__(self, code: str, message: str = "", *, data: Any = None, retry: bool | None = None) -> None:
        self.code = one_line(code, "code", maximum=MAX_CODE)
        self.data = data
        if retry is not None and not isinstance(retry, bool):
            raise TypeError(f"retry must be True, False or None, not {retry!r:.100}.")
        self.retry = retry
        super().__init__(message)


class Snooze(TasksQError):
    """Raised by a task to be run again later. The attempt does not count.

    ``delay`` is in seconds, or a ``timedelta``.
    """

    delay = 0.0

    def __init__(self, delay: float | timedelta) -> None:
        self.delay = seconds(delay, "delay")
        super().__init__(f"again in {plain(self.delay)} seconds")


#: The message of a cancellation without a reason.
NO_REASON = "The job was cancelled."


class TaskCancelled(BaseException):
    """Raised inside a task whose cancellation was asked for, or by a task to cancel its own job.

    It is no Exception, for the reason that TaskTimeout is none.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or NO_REASON)


class WorkerStopping(BaseException):
    """Raised inside a task that is still running when its worker is about to be over.

    The attempt does not count and the job is run again. It is no Exception, for the reason that TaskTimeout
    is none.
    """

    def __init__(self, message: str = "The worker is stopping.") -> None:
        super().__init__(message)


class ReceiverTimeout(TasksQError, TimeoutError):
    """Raised in receivers of a task signal that take too long. The job is not affected."""


class AttemptCrashed(TasksQError):
    """The process that ran an attempt ended without an outcome."""


class WorkerLost(AttemptCrashed):
    """The worker that ran an attempt stopped renewing its lease."""


class JobTaken(TasksQError):
    """An attempt tried to write to its job after another attempt had taken it over."""


class BadArguments(TasksQError, TypeError):
    """Stored arguments no longer fit the task's signature."""


class ResultUnstorable(TasksQError, ValueError):
    """A task returned a value that cannot be stored."""


class ReturnTypeMismatch(TasksQError, TypeError):
    """A ``strict`` task returned something else than its annotation says."""


class JobCancelled(TasksQError):
    """The job was cancelled before it could succeed."""


class JobExpired(TasksQError):
    """The job was not started before its expiry."""


class WouldNeverReturn(TasksQError, RuntimeError):
    """``result.get()`` was called where the job cannot end for as long as it waits."""


class JobFailed(TasksQError, ValueError):
    """``result.get()`` was called for a job that did not succeed."""
