"""P13: workers of ours on several hosts that share one PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from .. import namespaces
from ..bench import Bench
from ..contenders.ours import OURS
from ..figures import Key
from ..measures import fill
from ..project import Project


def hosts(bench: Bench) -> None:
    if reason := namespaces.missing():
        bench.figures.remark(f"P13 was left out: {reason}.")
        return
    try:
        with namespaces.hosts(8) as names, bench.server.listening(namespaces.ADDRESS):
            for _ in range(bench.rounds):
                for count in (1, 2, 4, 8):
                    rate = _drain(bench, bench.ours, names[:count])
                    key = Key("P13", f"drain no-op jobs, {count} workers on hosts of their own")
                    bench.figures.add(key, OURS.name, rate)
    except subprocess.CalledProcessError as error:
        bench.figures.remark(f"P13 was left out: {(error.stderr or str(error)).strip()}")


def _drain(bench: Bench, project: Project, names: Sequence[str]) -> float:
    project.empty()
    jobs = bench.size(project, 2)
    fill(project, "noop", jobs)
    prefixes = [["ip", "netns", "exec", name] for name in names]
    commands = [OURS.waiting[0]] * len(names)
    with project.workers(commands, prefixes, PGHOST=namespaces.ADDRESS) as workers:
        project.wait_for(jobs, workers)
    times = [moment for _, moment in project.stamped()]
    return jobs / (max(times) - min(times))
