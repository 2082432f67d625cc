"""The attempt that the running code belongs to, for code whose signature has no place for a context."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from .execution.context import TaskContext


class Running(Protocol):
    """What is known here of a running attempt."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def context(self) -> TaskContext: ...


#: None outside of every task.
running: ContextVar[Running | None] = ContextVar("django_tasks_q.running", default=None)


def current_context() -> TaskContext:
    """The context of the running attempt, as a task with ``takes_context`` is given it.

    Raises LookupError where no task is running.
    """
    attempt = running.get()
    if attempt is None:
        raise LookupError("current_context() is for code that runs in a task, and none is running here.")
    return attempt.context
