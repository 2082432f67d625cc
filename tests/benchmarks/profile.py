"""Where the microseconds of a no-op job of ours go: processor time by who spent it."""

from __future__ import annotations

import time

import psutil

from .bench import Bench
from .contenders.ours import OURS
from .measures import fill

#: Processor time is counted in hundredths of a second, so there must be many of them.
JOBS = 20_000


def profile(bench: Bench) -> None:
    project = bench.ours
    project.empty()
    jobs = max(JOBS, bench.jobs * 4)
    fill(project, "noop", jobs)
    postmaster = psutil.Process(bench.server.pid)
    with project.workers([OURS.waiting[0]]) as workers:
        parent = psutil.Process(workers[0].pid)
        # The start is over: imports and forks are no part of a job.
        project.wait_for(jobs // 10, workers)
        first, before, begun = project.begun(), _spent(postmaster, parent), time.perf_counter()
        project.wait_for(jobs, workers)
        after, seconds = _spent(postmaster, parent), time.perf_counter() - begun
    done = jobs - first
    print("\n| Processor time of a no-op job | µs |\n|---|---|")
    for who in after:
        print(f"| {who} | {(after[who] - before[who]) / done * 1e6:.0f} |")
    print(f"| all of it | {(sum(after.values()) - sum(before.values())) / done * 1e6:.0f} |")
    print(f"| by the clock | {seconds / done * 1e6:.0f} |")


def _spent(postmaster: psutil.Process, parent: psutil.Process) -> dict[str, float]:
    return {
        "PostgreSQL": _cpu(postmaster.children(recursive=True)),
        "the worker's parent": _cpu([parent]),
        "fork server and children": _cpu(parent.children(recursive=True)),
    }


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
