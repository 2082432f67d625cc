"""Django's own backends for tests and development, for tasks that carry our options."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .. import compat
from ..definition.task import Task
from ..forks import OneProcess

if TYPE_CHECKING:
    from ..definition.result import TaskResult
    from ..results.waiter import ResultWaiter


class _WaitsWithoutNotifications:
    """Results of these backends end in this process, so that no database can notify of them."""

    def waiter(self, result: TaskResult[..., Any], timeout: float | None) -> ResultWaiter:
        from .lazy import ResultWaiter

        return ResultWaiter(None, result, timeout, notify=False)


class ImmediateBackend(_WaitsWithoutNotifications, compat.ImmediateBackend):
    """Runs a task where it is enqueued. A copy of the process that the task makes ends with the task."""

    task_class = Task

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Run it at once, and return how it ended."""
        result: Any = super().enqueue(_in_one_process(task), args, kwargs)
        object.__setattr__(result, "task", task)
        return result


class DummyBackend(_WaitsWithoutNotifications, compat.DummyBackend):
    """Keeps what was enqueued in a list and runs nothing."""

    task_class = Task


def _in_one_process(task: Any) -> Any:
    """Return an equal task whose call ends a copy of the process that the task makes."""
    if not isinstance(task, Task):
        return task

    def call(*args: Any, **kwargs: Any) -> Any:
        with OneProcess():
            return task.call(*args, **kwargs)

    # Another one of its kind, since all that enqueue it share the original. Task copies itself as itself.
    equal: Any = object.__new__(type(task))
    for field in fields(task):
        object.__setattr__(equal, field.name, getattr(task, field.name))
    object.__setattr__(equal, "call", call)
    return equal
