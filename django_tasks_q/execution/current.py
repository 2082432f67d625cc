"""The context of the running attempt, for code whose signature has no place for it.

It is importable before apps are ready, as modules of tasks may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..current import running

if TYPE_CHECKING:
    from .context import TaskContext


def current_context() -> TaskContext:
    """Return the context of the running attempt, as a task with ``takes_context`` is given it.

    Raises LookupError where no task is running.
    """
    attempt = running.get()
    if attempt is None:
        raise LookupError("current_context() is for code that runs in a task, and no task is running here.")
    context: TaskContext = attempt.context
    return context
