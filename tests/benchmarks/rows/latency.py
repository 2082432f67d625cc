"""P3: how soon an idle worker begins a job."""

from __future__ import annotations

from ..bench import Bench
from ..contenders.ours import ON_SQLITE, OURS
from ..figures import Key, percentile
from ..measures import latencies
from ..project import Project

#: How many calls, and the seconds between two of them.
CALLS, PAUSE = 200, 0.05


def latency(bench: Bench) -> None:
    def measure(project: Project) -> None:
        found = latencies(project, CALLS, PAUSE)
        for share in (0.5, 0.95, 0.99):
            key = Key("P3", f"commit to start of the function, p{share * 100:.0f}", "ms")
            bench.figures.add(key, project.contender.name, percentile(found, share))

    bench.each("P3", (OURS, ON_SQLITE), measure)
