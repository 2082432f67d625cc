"""P1, P2 and P11: how fast a queue that is full is emptied by two processes."""

from __future__ import annotations

from ..bench import Bench
from ..contenders.ours import ON_SQLITE, OURS
from ..figures import Key
from ..measures import drain
from ..project import Project


def noop(bench: Bench) -> None:
    _drain(bench, Key("P1", "drain no-op jobs"), "noop", 1)


def orm(bench: Bench) -> None:
    _drain(bench, Key("P2", "drain jobs of one ORM read and one write"), "orm", 0.5)


def sqlite(bench: Bench) -> None:
    _drain(bench, Key("P11", "drain no-op jobs, SQLite as Django sets it"), "noop", 0.5)


def _drain(bench: Bench, key: Key, task: str, factor: float) -> None:
    def measure(project: Project) -> None:
        rate = drain(project, task, bench.size(project, factor))
        bench.figures.add(key, project.contender.name, rate)

    bench.each(key.row, (OURS, ON_SQLITE), measure)
