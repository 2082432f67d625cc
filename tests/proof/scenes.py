"""Which fault at which step, and how the jobs are promised to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..faults import tasks

#: The records of a job's attempts. A first run that succeeds needs none.
UNDISTURBED: tuple[str, ...] = ()
RESCUED = ("lost", "successful")
CRASHED = ("crashed", "successful")
FAILED_ONCE = ("failed", "successful")
TIMED_OUT = ("timeout",)

#: Whoever does these is gone, or as good as gone, with what it held.
DEATHS = ("kill", "exit", "stop", "raise")
#: And these are survived.
TROUBLES = ("error", "drop")


@dataclass(frozen=True)
class Scene:
    """One fault. It hits the job that a worker takes first, or the ``hit``-th."""

    step: str
    action: str
    #: What is recorded of the job in hand, and of the ones behind it.
    promise: tuple[str, ...] | None = UNDISTURBED
    others: tuple[str, ...] | None = UNDISTURBED
    hit: int = 1
    #: The fault is met when the step is come to for that time.
    at: int = 1
    jobs: tuple[Any, ...] = field(default_factory=lambda: (tasks.quick,) * 3)
    #: Where the fault is met: by a worker, by whoever does the duty ``rescue`` or ``prune``, or by a caller.
    who: str = "worker"
    #: Which process meets it, for those that are stopped.
    stops: str = "parent"

    @property
    def name(self) -> str:
        return f"{self.step}={self.action}"

    @property
    def needs_server(self) -> bool:
        """Whether the fault is one that a database in a file cannot have."""
        return self.action == "drop" or self.step == "enqueue.committed"


def waves() -> Iterator[list[Scene]]:
    """Scenes that may be played beside each other, each with a queue of its own."""
    running = [Scene("claim.sending", action) for action in DEATHS + TROUBLES]
    running += [Scene("claim.committed", action, RESCUED) for action in DEATHS]
    running += [Scene("claim.committed", action) for action in TROUBLES]
    running += [Scene("attempt.received", action, CRASHED) for action in ("kill", "exit")]
    running += [Scene("attempt.returned", action, CRASHED) for action in ("kill", "exit")]
    for step, promise in (("attempt.received", CRASHED), ("attempt.returned", TIMED_OUT)):
        running.append(Scene(step, "stop", promise, jobs=(overrun(),) * 2, stops="child"))
    # The connection is there from the job before.
    running.append(Scene("attempt.received", "drop", FAILED_ONCE, hit=2, at=2))
    yield running

    ending = [Scene("finish.sending", action, RESCUED) for action in DEATHS]
    ending += [Scene("finish.sending", action) for action in TROUBLES]
    ending += [Scene("finish.committed", action) for action in DEATHS + TROUBLES]
    long = (slow(1.5), tasks.quick)
    ending += [Scene("heartbeat.sending", action, RESCUED, jobs=long) for action in DEATHS]
    ending += [Scene("heartbeat.sending", action, jobs=long) for action in TROUBLES]
    yield ending

    keeping = [
        Scene(step, action, RESCUED, jobs=(), who="rescue")
        for step in ("rescue.selected", "rescue.written")
        for action in DEATHS + TROUBLES
    ]
    # Without a stop: it would be one with SQLite's write lock.
    keeping += [
        Scene("prune.selected", action, jobs=(), who="prune")
        for action in ("kill", "exit", "raise", *TROUBLES)
    ]
    keeping += [
        Scene("release.sending", action, RESCUED, hit=2, jobs=(tasks.quick,))
        for action in ("kill", "exit", "stop")
    ]
    keeping += [
        Scene("enqueue.inserted", action, jobs=(), who="caller")
        for action in ("kill", "exit", "raise", "error", "drop")
    ]
    keeping += [
        Scene("enqueue.committed", action, jobs=(), who="caller") for action in ("kill", "exit", "raise")
    ]
    yield keeping


def slow(seconds: float) -> Any:
    return (tasks.slow, seconds)


def overrun() -> Any:
    """Has a timeout, and keeps it."""
    return (tasks.overrun, 0.0)
