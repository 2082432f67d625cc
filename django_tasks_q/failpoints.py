"""Named steps at which a test can make a process die, stop or fail. Without such a test they do nothing."""

from __future__ import annotations

from collections.abc import Callable

#: Every step, in the order one job meets them.
STEPS = (
    "enqueue.inserted",  # in the caller's transaction
    "enqueue.committed",  # before workers are notified
    "claim.sending",
    "claim.committed",  # before a child is given the job
    "mark.sending",  # of a job that must not run twice
    "mark.committed",
    "attempt.received",  # by the child, before user code
    "attempt.returned",  # by user code, before the outcome is sent
    "finish.sending",
    "finish.committed",  # before the worker knows
    "heartbeat.sending",
    "rescue.selected",
    "rescue.written",
    "release.sending",
    "prune.selected",
    "schedule.locked",  # what is due, and nothing is written
    "schedule.written",  # in the worker's transaction
    "schedule.committed",
)

_handlers: list[Callable[[str], None]] = []


def failpoint(step: str) -> None:
    """Report that this process has come to ``step``."""
    for handler in _handlers:
        handler(step)


def install(handler: Callable[[str], None]) -> None:
    """Call ``handler`` with the name of each step that this process comes to. For tests only."""
    _handlers.append(handler)
