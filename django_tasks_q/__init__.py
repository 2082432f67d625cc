"""Background tasks for Django, stored in your own database."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bound import BoundTask as BoundTask
    from .current import current_context as current_context
    from .decorator import task as task
    from .definition import Task as Task
    from .depends import Depends as Depends
    from .exceptions import Snooze as Snooze
    from .exceptions import TaskCancelled as TaskCancelled
    from .exceptions import TaskFailure as TaskFailure
    from .exceptions import TaskTimeout as TaskTimeout
    from .policy import Backoff as Backoff
    from .schedules import schedule as schedule
    from .sending import aenqueue as aenqueue
    from .sending import enqueue as enqueue

__version__ = "0.1.0"

_EXPORTS = {
    "Backoff": "policy",
    "BoundTask": "bound",
    "Depends": "depends",
    "Snooze": "exceptions",
    "Task": "definition",
    "TaskCancelled": "exceptions",
    "TaskFailure": "exceptions",
    "TaskTimeout": "exceptions",
    "aenqueue": "sending",
    "current_context": "current",
    "enqueue": "sending",
    "schedule": "schedules",
    "task": "decorator",
}

__all__ = [
    "Backoff",
    "BoundTask",
    "Depends",
    "Snooze",
    "Task",
    "TaskCancelled",
    "TaskFailure",
    "TaskTimeout",
    "__version__",
    "aenqueue",
    "current_context",
    "enqueue",
    "schedule",
    "task",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that the app's modules can be imported before settings and Django's framework can be.
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
