"""Background tasks for Django, stored in your own database."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition.call import BoundTask as BoundTask
    from .definition.decorator import task as task
    from .definition.enqueue import aenqueue as aenqueue
    from .definition.enqueue import aenqueue_many as aenqueue_many
    from .definition.enqueue import enqueue as enqueue
    from .definition.enqueue import enqueue_many as enqueue_many
    from .definition.task import Task as Task
    from .dependencies.declaration import Depends as Depends
    from .exceptions import Snooze as Snooze
    from .exceptions import TaskCancelled as TaskCancelled
    from .exceptions import TaskFailure as TaskFailure
    from .exceptions import TaskTimeout as TaskTimeout
    from .exceptions import WorkerStopping as WorkerStopping
    from .execution.current import current_context as current_context
    from .lifecycle.retry import Backoff as Backoff
    from .scheduling.declare import schedule as schedule

__version__ = "0.1.0"

_EXPORTS = {
    "Backoff": "lifecycle.retry",
    "BoundTask": "definition.call",
    "Depends": "dependencies.declaration",
    "Snooze": "exceptions",
    "Task": "definition.task",
    "TaskCancelled": "exceptions",
    "TaskFailure": "exceptions",
    "TaskTimeout": "exceptions",
    "WorkerStopping": "exceptions",
    "aenqueue": "definition.enqueue",
    "aenqueue_many": "definition.enqueue",
    "current_context": "execution.current",
    "enqueue": "definition.enqueue",
    "enqueue_many": "definition.enqueue",
    "schedule": "scheduling.declare",
    "task": "definition.decorator",
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
    "WorkerStopping",
    "__version__",
    "aenqueue",
    "aenqueue_many",
    "current_context",
    "enqueue",
    "enqueue_many",
    "schedule",
    "task",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that the app's modules can be imported before settings and Django's framework can be.
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
