"""P14: how large ours stays while jobs come and go."""

from __future__ import annotations

from ..bench import Bench
from ..contenders.ours import BRIEF
from ..figures import Key
from ..measures import drain_rest, fill
from ..project import Project

#: Jobs that come and go before the next ones do.
BATCH = 50_000
BATCHES = 20
SIZES = """
SELECT pg_table_size('django_tasks_q_job') / 1e6, pg_indexes_size('django_tasks_q_job') / 1e6
"""


def churn(bench: Bench) -> None:
    """A million jobs, with the server's own vacuum and nobody else's."""
    project = bench.project(BRIEF)
    assert project, "our own project cannot be made"
    project.empty()
    batch = min(BATCH, bench.size(project, 2.5))
    for number in range(1, BATCHES + 1):
        _come_and_go(project, batch)
        if number % (BATCHES // 5) == 0:
            done = f"after {number * batch:,} jobs"
            table, indexes = project.query(SIZES)
            bench.figures.add(Key("P14", f"table, {done}", "MB"), BRIEF.name, float(table))
            bench.figures.add(Key("P14", f"indexes, {done}", "MB"), BRIEF.name, float(indexes))
    project.empty()


def _come_and_go(project: Project, jobs: int) -> None:
    fill(project, "noop", jobs)
    drain_rest(project, jobs)
    project.admin("prune_tasks", "--verbosity", "0")
