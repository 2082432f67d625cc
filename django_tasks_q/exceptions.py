"""The errors a user of the package can meet, each importable by the path that results carry."""


class TasksQError(Exception):
    """Base class of the package's own errors."""


class UnserializableValue(TasksQError, TypeError):
    """An argument or result holds a type that JSON has no word for."""


class UnstorableValue(TasksQError, ValueError):
    """An argument or result is JSON in shape, but not every database can store it."""


class DuplicateTask(TasksQError):
    """Two functions were registered under one task name."""


class TaskNotRegistered(TasksQError, LookupError):
    """A stored task name belongs to no function of this process."""


class TaskTimeout(TasksQError, TimeoutError):
    """An attempt ran longer than its ``timeout``."""


class AttemptCrashed(TasksQError):
    """The process that ran an attempt ended without an answer."""


class WorkerLost(AttemptCrashed):
    """The worker that ran an attempt stopped renewing its lease."""


class BadArguments(TasksQError, TypeError):
    """Stored arguments no longer fit the task's signature."""


class ResultUnstorable(TasksQError, ValueError):
    """A task returned a value that cannot be stored."""


class JobCancelled(TasksQError):
    """The job was cancelled before it could succeed."""


class JobExpired(TasksQError):
    """The job was not started before its expiry."""


class JobFailed(TasksQError, ValueError):
    """``result.get()`` was called for a job that did not succeed."""
