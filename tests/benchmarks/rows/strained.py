"""P8 and P9: ours on a server that is held up, and on one that gathers commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ..bench import Bench
from ..contenders.ours import OURS
from ..figures import Key
from ..measures import drain
from ..project import Project

#: What the server is put under, by what it is called.
Strains = dict[str, Callable[[], AbstractContextManager[None]]]


def snapshot(bench: Bench) -> None:
    _compare(
        bench, "P8", 3, {"without": nullcontext, "beside an open snapshot": lambda: _snapshot(bench.ours)}
    )


def gathered(bench: Bench) -> None:
    strains = {
        "without": nullcontext,
        "commit_delay 1000": lambda: bench.server.setting(commit_delay=1000, commit_siblings=0),
    }
    _compare(bench, "P9", 1, strains)


def _compare(bench: Bench, row: str, factor: float, strains: Strains) -> None:
    project = bench.ours
    for _ in range(bench.rounds):
        for what, strain in strains.items():
            project.empty()
            with strain():
                rate = drain(project, "noop", bench.size(project, factor))
            bench.figures.add(Key(row, f"drain no-op jobs, {what}"), OURS.name, rate)


@contextmanager
def _snapshot(project: Project) -> Iterator[None]:
    """A transaction that keeps dead rows from being cleaned away."""
    with project.server.connect(project.database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM django_tasks_q_job")
        yield
        connection.execute("ROLLBACK")
