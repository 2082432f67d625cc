"""Which fault at which step, and how the jobs are promised to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django_tasks_q.failpoints import STEPS

from ..faults import tasks

#: The records of a job's attempts. A first run that succeeds needs none.
UNDISTURBED: tuple[str, ...] = ()
#: Nor does one that is as if it had never been.
RESCUED = ("rescued",)
#: Its process died before its code began, which the worker knows.
UNBEGUN = ("rescued",)
LOST = ("lost",)
CRASHED = ("crashed", "successful")
FAILED_ONCE = ("failed", "successful")
TIMED_OUT = ("timeout",)

#: Whoever does these is gone, or as good as gone, with what it held.
DEATHS = ("kill", "exit", "stop", "raise")
#: Of those, the ways to be gone in which the parent still has a say: it gives back what it holds.
BREAKS = ("raise",)
#: And these are survived.
TROUBLES = ("error", "drop")
#: Of a server's sessions, the ways to end.
ENDS = ("drop", "terminate")


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
    def keeps_behind(self) -> bool:
        """Whether the jobs behind the first wait for the fault, or the child might have begun one of them."""
        return self.step == "finish.sending" and self.action in DEATHS

    @property
    def needs_server(self) -> bool:
        """Whether the fault is one that a database in a file cannot have."""
        return self.action in ENDS or self.step == "enqueue.committed"


def waves() -> Iterator[list[Scene]]:
    """Scenes that may be played beside each other, each with a queue of its own."""
    running = [Scene("claim.sending", action) for action in DEATHS + TROUBLES]
    running += [Scene("claim.committed", action, loss(action)) for action in DEATHS]
    running += [Scene("claim.committed", action) for action in TROUBLES]
    running += [Scene("attempt.received", action, UNBEGUN) for action in ("kill", "exit")]
    running += [Scene("attempt.returned", action, CRASHED) for action in ("kill", "exit")]
    for step, promise in (("attempt.received", UNBEGUN), ("attempt.returned", TIMED_OUT)):
        running.append(Scene(step, "stop", promise, jobs=(overrun(),) * 2, stops="child"))
    # Before user code it is a mistake of this package, which no retry makes good; behind, the task's own.
    running += [Scene("attempt.received", action, ("failed",)) for action in ("raise", "error")]
    running += [Scene("attempt.returned", action, FAILED_ONCE) for action in ("raise", "error")]
    yield running

    ending = [Scene("finish.sending", action, loss(action)) for action in DEATHS]
    ending += [Scene("finish.sending", action) for action in TROUBLES]
    ending += [Scene("finish.committed", action) for action in DEATHS + TROUBLES]
    long = (slow(1.5), tasks.quick)
    lost = [action for action in DEATHS if action not in BREAKS]
    ending += [Scene("heartbeat.sending", action, loss(action), jobs=long) for action in lost]
    # By the fourth heartbeat the job's code has begun, and so may be what the worker ends by.
    longer = (slow(4), tasks.quick)
    ending += [Scene("heartbeat.sending", action, RESCUED, at=4, jobs=longer) for action in BREAKS]
    ending += [Scene("heartbeat.sending", action, jobs=long) for action in TROUBLES]
    yield ending

    keeping = [
        Scene(step, action, RESCUED, jobs=(), who="rescue")
        for step in ("rescue.selected", "rescue.written")
        for action in DEATHS + TROUBLES
    ]
    keeping += [Scene("prune.selected", action, jobs=(), who="prune") for action in DEATHS + TROUBLES]
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

    once = (tasks.once,) * 3
    marking = [Scene("mark.sending", action, loss(action), jobs=once) for action in DEATHS]
    marking += [
        Scene("mark.committed", action, UNDISTURBED if action in BREAKS else LOST, jobs=once)
        for action in DEATHS
    ]
    marking += [
        Scene(f"mark.{moment}", action, jobs=once)
        for moment in ("sending", "committed")
        for action in TROUBLES
    ]
    yield marking

    yield list(slowed())
    yield list(ended())


def loss(action: str, given_back: tuple[str, ...] = UNDISTURBED) -> tuple[str, ...]:
    """What is recorded of a job whose worker is gone in a way."""
    return given_back if action in BREAKS else RESCUED


def slowed() -> Iterator[Scene]:
    """Where a step only takes its time, nothing is different in the end."""
    for step in STEPS:
        match step.partition(".")[0]:
            case "rescue":
                yield Scene(step, "sleep", RESCUED, jobs=(), who="rescue")
            case "prune":
                yield Scene(step, "sleep", jobs=(), who="prune")
            case "enqueue":
                yield Scene(step, "sleep", jobs=(), who="caller")
            case "schedule":
                pass  # no step of a job's way: tests/test_schedules.py has them
            case "heartbeat":
                yield Scene(step, "sleep", jobs=(slow(1.5), tasks.quick))
            case "mark":
                yield Scene(step, "sleep", jobs=(tasks.once,) * 3)
            case "release":
                yield Scene(step, "sleep", hit=2, jobs=(tasks.quick,))
            case _:
                yield Scene(step, "sleep")


def ended() -> Iterator[Scene]:
    """Sessions that end, by the server's will or without a word, before the next thing asked of them."""
    for action in ENDS:
        # The connection is there from the job before; its task is the first to ask something of it.
        yield Scene("attempt.received", action, FAILED_ONCE, hit=2, at=2)
        yield Scene("release.sending", action, hit=2, jobs=(tasks.quick,))
    for step in ("claim.sending", "claim.committed", "finish.sending", "finish.committed"):
        yield Scene(step, "terminate")
    yield Scene("mark.sending", "terminate", jobs=(tasks.once,) * 3)
    yield Scene("heartbeat.sending", "terminate", jobs=(slow(1.5), tasks.quick))
    for step in ("rescue.selected", "rescue.written"):
        yield Scene(step, "terminate", RESCUED, jobs=(), who="rescue")
    yield Scene("prune.selected", "terminate", jobs=(), who="prune")
    yield Scene("enqueue.inserted", "terminate", jobs=(), who="caller")


def slow(seconds: float) -> Any:
    return (tasks.slow, seconds)


def overrun() -> Any:
    """Has a timeout, and keeps it: on a busy machine it takes a while to connect."""
    return (tasks.overrun.using(timeout=1.5), 0.0)
