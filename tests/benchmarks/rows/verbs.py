"""P12: our storage alone against statements written by hand."""

from __future__ import annotations

from ..bench import Bench
from ..contenders.ours import OURS
from ..figures import Key
from ..measures import fill
from ..verbs import BARE


def verbs(bench: Bench) -> None:
    project = bench.ours
    key = Key("P12", "claim and finish by 100 in one process")
    for _ in range(bench.rounds):
        project.empty()
        fill(project, "noop", bench.size(project))
        with project.server.connect(project.database) as connection:
            connection.execute(BARE)
            connection.execute("VACUUM ANALYZE")
        try:
            for name, how in ((OURS.name, "storage"), ("by hand", "hand")):
                rate = float(project.run(["-m", "tests.benchmarks.verbs", how]))
                bench.figures.add(key, name, rate)
        finally:
            with project.server.connect(project.database) as connection:
                connection.execute("DROP TABLE IF EXISTS bare")
