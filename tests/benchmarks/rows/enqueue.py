"""P4, P5 and P6: how fast jobs come in."""

from __future__ import annotations

from ..bench import Bench
from ..contenders.ours import OURS, SILENT
from ..figures import Key
from ..measures import crowd, enqueue, enqueue_many
from ..project import Project

#: Jobs in a call of P5.
CHUNK = 5000


def one_at_a_time(bench: Bench) -> None:
    def measure(project: Project) -> None:
        rate = enqueue(project, bench.size(project, 0.5))
        bench.figures.add(Key("P4", "enqueue one at a time"), project.contender.name, rate)

    bench.each("P4", (OURS,), measure)


def many_at_once(bench: Bench) -> None:
    def measure(project: Project) -> None:
        rate = enqueue_many(project, bench.size(project, 5), CHUNK)
        bench.figures.add(Key("P5", f"enqueue {CHUNK} in a call"), project.contender.name, rate)

    bench.each("P5", (OURS,), measure)


def by_many_processes(bench: Bench) -> None:
    for processes in (16, 32):
        key = Key("P6", f"enqueue one at a time by {processes} processes")

        def measure(project: Project, processes: int = processes, key: Key = key) -> None:
            jobs = max(20, bench.jobs // 25)
            seconds, _ = crowd(project, "crowd", "noop", processes, jobs)
            bench.figures.add(key, project.contender.name, processes * jobs / seconds)

        bench.each("P6", (OURS, SILENT), measure)
