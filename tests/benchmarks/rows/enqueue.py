"""P4, P5 and P6: how fast jobs come in."""

from __future__ import annotations

import json
import subprocess

from ..bench import Bench
from ..contenders.ours import OURS, SILENT
from ..figures import Key
from ..measures import enqueue, enqueue_many
from ..project import Project, stop

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
            rate = _crowd(project, processes, max(20, bench.jobs // 25))
            bench.figures.add(key, project.contender.name, rate)

        bench.each("P6", (OURS, SILENT), measure)


def _crowd(project: Project, processes: int, jobs: int) -> float:
    """Calls a second of processes that have all connected before the first of them begins."""
    command = [project.python, "feed.py", "crowd", "noop", str(jobs)]
    crowd = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for one in crowd:
            one.stdout.readline()
        for one in crowd:
            one.stdin.write("go\n")
            one.stdin.flush()
        spans = [json.loads(one.stdout.readline()) for one in crowd]
        return processes * jobs / (max(end for _, end in spans) - min(begin for begin, _ in spans))
    finally:
        stop(crowd)
