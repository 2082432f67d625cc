"""Where the microseconds go: processor time by who spent it, and beside it the time by the clock.

Beside each of our own stands the least that anybody could do for the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from .bench import Bench
from .contenders.ours import OURS, SILENT
from .measures import crowd, fill
from .project import Project

#: Processor time is counted in hundredths of a second, so there must be many of them.
JOBS = 20_000
#: Jobs of P2 and single sends, each of which waits for the disk.
SLOW = 4_000
#: What a table of finished jobs would cost each of them: the row once more, and the end of the old one.
MOVE = """
WITH gone AS (
    DELETE FROM django_tasks_q_job
    WHERE id = ANY(ARRAY(SELECT id FROM django_tasks_q_job ORDER BY id LIMIT 500)) RETURNING *
)
INSERT INTO history SELECT * FROM gone
"""
BARE = Path(__file__).with_name("bare.py")


def profile(bench: Bench) -> None:
    print("\n| Microseconds | client | PostgreSQL | both | by the clock |\n|---|--:|--:|--:|--:|", flush=True)
    _drain(bench, "noop", "a no-op job", max(JOBS, bench.jobs * 4))
    _history(bench)
    _drain(bench, "orm", "a job of one ORM read and write, two children", SLOW)
    _functions(bench)
    _sends(bench)
    _bulk(bench)
    for contender in (SILENT, OURS):
        _crowd(bench, bench.project(contender), contender is OURS)


def _drain(bench: Bench, task: str, what: str, jobs: int) -> None:
    project = bench.ours
    project.empty()
    fill(project, task, jobs)
    with project.workers([OURS.waiting[0]]) as workers:
        parent = psutil.Process(workers[0].pid)
        # The start is over: imports and forks are no part of a job.
        project.wait_for(jobs // 10, workers)
        with _server_spends(bench) as spent:
            first, before, begun = project.begun(), _client(parent), time.perf_counter()
            project.wait_for(jobs, workers)
            after, seconds = _client(parent), time.perf_counter() - begun
        done = jobs - first
        ours = {who: after[who] - before[who] for who in after}
    _line(what, sum(ours.values()), spent[0], seconds, done)
    for who, used in ours.items():
        print(f"| – {who} | {used / done * 1e6:.0f} | | | |", flush=True)


def _history(bench: Bench) -> None:
    """What a finished job costs that is pruned, or that would be moved to a table of finished ones."""
    project = bench.ours
    with project.server.connect(project.database) as connection:
        connection.execute("CREATE TABLE history (LIKE django_tasks_q_job INCLUDING ALL)")
        connection.execute("UPDATE django_tasks_q_job SET finished_at = finished_at - INTERVAL '30 days'")
        connection.execute("VACUUM ANALYZE django_tasks_q_job")
        with _server_spends(bench) as spent:
            begun, moved = time.perf_counter(), 0
            while moved < JOBS // 2:
                moved += connection.execute(MOVE).rowcount
            seconds = time.perf_counter() - begun
        _line("a finished job moved to another table, 500 at a time", 0, spent[0], seconds, moved)
        left = connection.execute("SELECT count(*) FROM django_tasks_q_job").fetchone()[0]
    with _server_spends(bench) as spent:
        begun = time.perf_counter()
        project.admin("prune_tasks", "--verbosity", "0")
        seconds = time.perf_counter() - begun
    _line(
        "a finished job pruned, 500 at a time (by the clock with the start of the command)",
        0,
        spent[0],
        seconds,
        left,
    )


def _functions(bench: Bench) -> None:
    project = bench.ours
    project.empty()
    with _server_spends(bench) as spent:
        seconds, used = crowd(project, "call", "orm", 2, SLOW // 2)
    _line("the same function in a loop of two processes, without a queue", used, spent[0], seconds, SLOW)


def _sends(bench: Bench) -> None:
    project = bench.ours
    project.empty()
    with _server_spends(bench) as spent:
        seconds, used = project.feed("one", "noop", SLOW)
    _line("a send", used, spent[0], seconds, SLOW)
    with _server_spends(bench) as spent:
        seconds, used = json.loads(project.run([str(BARE), "one", str(SLOW), "1"]))
    _line("an insert of two columns by the driver alone", used, spent[0], seconds, SLOW)


def _bulk(bench: Bench) -> None:
    project = bench.ours
    project.empty()
    rows = 20 * 5000
    with _server_spends(bench) as spent:
        seconds, used = project.feed("many", "noop", rows, 5000)
    _line("a job of 5,000 in a call", used, spent[0], seconds, rows)
    with _server_spends(bench) as spent:
        seconds, used = json.loads(project.run([str(BARE), "copy", "5000", "20"]))
    _line("a row of two columns in a COPY of 5,000 by the driver alone", used, spent[0], seconds, rows)


def _crowd(bench: Bench, project: Project | None, hints: bool) -> None:
    assert project, "our own project cannot be made"
    project.empty()
    processes, jobs = 32, 200
    with _server_spends(bench) as spent:
        seconds, used = crowd(project, "crowd", "noop", processes, jobs)
    what = f"a send by {processes} processes at once, {'with' if hints else 'without'} hints"
    _line(what, used, spent[0], seconds, processes * jobs)


def _line(what: str, client: float, server: float, seconds: float, count: int) -> None:
    figures = (client, server, client + server, seconds)
    print(f"| {what} | {' | '.join(f'{figure / count * 1e6:.0f}' for figure in figures)} |", flush=True)


def _client(parent: psutil.Process) -> dict[str, float]:
    return {
        "the worker's parent": _cpu([parent]),
        "fork server and children": _cpu(parent.children(recursive=True)),
    }


@contextmanager
def _server_spends(bench: Bench) -> Iterator[list[float]]:
    """The processor time of the server within the block, of sessions that ended in it too."""
    postmaster = psutil.Process(bench.server.pid)

    def used() -> float:
        times = postmaster.cpu_times()
        return _cpu([postmaster, *postmaster.children()]) + times.children_user + times.children_system

    spent = [-used()]
    yield spent
    time.sleep(0.2)  # sessions that end are reaped
    spent[0] += used()


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
