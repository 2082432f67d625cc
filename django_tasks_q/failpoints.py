"""Named steps at which a test can make a process die, stop or fail. Without such a test they do nothing."""

from __future__ import annotations

from collections.abc import Callable

#: Every step, in the order one job meets them.
STEPS = (
    "enqueue.inserted",  # in the caller's transaction
    "enqueue.committed",  # and no worker has been told
    "claim.sending",
    "claim.committed",  # and no child has been told
    "attempt.received",  # by the child, before user code
    "attempt.returned",  # by user code, and the parent has not been told
    "finish.sending",
    "finish.committed",  # and the worker does not know
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
    """Say that this process has come to ``step``."""
    for handler in _handlers:
        handler(step)


def install(handler: Callable[[str], None]) -> None:
    """Have ``handler`` called with the name of each step this process comes to. For tests only."""
    _handlers.append(handler)
