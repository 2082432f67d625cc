"""What the jobs of a chaos run do. A new kind of task is one more row."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from django_tasks_q.definition.task import Task

from . import tasks


class Kind(NamedTuple):
    weight: int
    task: Task[..., Any]
    #: Makes the arguments of one job.
    arguments: Callable[[random.Random], tuple[Any, ...]]
    #: Whether its effects are written in the transaction that ends the job.
    atomic: bool = False


MIXED = [
    Kind(50, tasks.quick, lambda chance: ()),
    Kind(15, tasks.slow, lambda chance: (round(chance.uniform(0.05, 0.6), 3),)),
    Kind(12, tasks.fail_until, lambda chance: (chance.choice([2, 3, 99]),)),
    Kind(8, tasks.snooze, lambda chance: (round(chance.uniform(0, 0.5), 3), 0.5)),
    Kind(5, tasks.crash, lambda chance: (0.5, chance.choice(["kill", "exit"]))),
    Kind(3, tasks.overrun, lambda chance: (0.5,)),
    Kind(10, tasks.in_thread, lambda chance: (round(chance.uniform(0, 0.4), 3),)),
    Kind(10, tasks.on_loop, lambda chance: (round(chance.uniform(0, 0.4), 3),)),
    Kind(1, tasks.overrun_in_thread, lambda chance: (0.5,)),
    Kind(1, tasks.overrun_on_loop, lambda chance: (0.5,)),
    Kind(10, tasks.in_transaction, lambda chance: (round(chance.uniform(0, 0.2), 3), 0.2), atomic=True),
    Kind(4, tasks.cancel_self, lambda chance: (0.3,)),
]
#: Nearly always running somewhere when their worker is frozen, and again when it wakes.
LONG = [Kind(1, tasks.slow, lambda chance: (round(chance.uniform(0.4, 1.2), 3),))]
#: As many as can be.
LIGHT = [Kind(98, tasks.quick, lambda chance: ()), *(kind._replace(weight=1) for kind in MIXED[1:4])]
#: Short ones: each kill of a worker meets some that run, and many that only wait.
BRIEF = [
    Kind(1000, tasks.brief, lambda chance: (round(chance.uniform(0, 0.02), 4),)),
    Kind(1000, tasks.brief_once, lambda chance: (round(chance.uniform(0, 0.02), 4),)),
    Kind(1, tasks.kill_worker, lambda chance: ()),
]

MIXES = {"mixed": MIXED, "long": LONG, "light": LIGHT, "brief": BRIEF}


def effectful(mix: str) -> list[str]:
    return [kind.task.name for kind in MIXES[mix]]


def atomic(mix: str) -> list[str]:
    return [kind.task.name for kind in MIXES[mix] if kind.atomic]


def draw(mix: str, chance: random.Random) -> tuple[Task[..., Any], tuple[Any, ...]]:
    """A task and its arguments."""
    kinds = MIXES[mix]
    (kind,) = chance.choices(kinds, [kind.weight for kind in kinds])
    return kind.task, kind.arguments(chance)
