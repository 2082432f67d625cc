"""P10: what a worker of ours costs that has nothing to do."""

from __future__ import annotations

import time

import psutil

from ..bench import Bench
from ..contenders.ours import OURS
from ..figures import Key
from ..measures import fill
from ..project import Project

#: Seconds of idleness that are watched: the rarest of the frequent duties comes once a minute.
WATCH = 60


def idle(bench: Bench) -> None:
    few = _watch(bench, 2)
    many = _watch(bench, 8)
    bench.figures.add(Key("P10", "memory of each further child, PSS", "MB"), OURS.name, (many - few) / 6)


def _watch(bench: Bench, processes: int) -> float:
    project = bench.ours
    project.empty()
    command = [str(processes) if part == "2" else part for part in OURS.waiting[0]]
    with project.workers([command]) as workers:
        jobs = 0
        parent = psutil.Process(workers[0].pid)
        # Children are started when there is something for them to do. One is the fork server.
        while len(parent.children(recursive=True)) < processes + 1 and jobs < 50_000:
            fill(project, "noop", 1000)
            jobs += 1000
            project.wait_for(jobs, workers)
        time.sleep(3)
        tree = [parent, *parent.children(recursive=True)]
        memory = sum(process.memory_full_info().pss for process in tree) / 1e6
        bench.figures.add(Key("P10", f"memory with {len(tree) - 2} children, PSS", "MB"), OURS.name, memory)
        if processes == 2:
            _effort(bench, project, tree)
    return memory


def _effort(bench: Bench, project: Project, tree: list[psutil.Process]) -> None:
    used = _cpu(tree)
    statements = _statements(project)
    used = (_cpu(tree) - used) / WATCH
    bench.figures.add(Key("P10", "statements of an idle worker", "a second"), OURS.name, statements)
    bench.figures.add(Key("P10", "processor of an idle worker", "%"), OURS.name, used * 100)


def _cpu(tree: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in tree)


def _statements(project: Project) -> float:
    """Statements a second, as the server logs them: what opens and ends a transaction is one as well."""
    start = project.server.log.stat().st_size
    with project.server.setting(log_statement="all", log_line_prefix="%d "):
        time.sleep(WATCH)
        lines = project.server.log.read_bytes()[start:].decode().splitlines()
    logged = (f"{project.database} LOG:  statement: ", f"{project.database} LOG:  execute ")
    return sum(line.startswith(logged) for line in lines) / WATCH
