"""P7: ours beside many rows that are none of its business."""

from __future__ import annotations

from ..bench import Bench
from ..contenders.ours import OURS
from ..figures import Key
from ..measures import enqueue, fill
from ..project import Project

#: One row that no worker gets to before it has done what is measured.
INSERT = """
INSERT INTO django_tasks_q_job (id, task_name, queue_name, backend, priority, status, run_after, arguments,
    options, max_attempts, fence, attempts, crashes, enqueued_at, started_at, finished_at, duration,
    error_code, cancel_reason)
SELECT gen_random_uuid(), 'work.tasks.noop', {queue}, 'default', {priority}, '{status}', {run_after},
    '[[1], {{}}]', '', 1, 1, 1, 0, now(), {started}, {finished}, {duration}, '', ''
FROM generate_series(1, {count}) AS number
"""
ANY = {
    "queue": "'default'",
    "priority": "0",
    "run_after": "NULL::timestamptz",
    "started": "NULL::timestamptz",
    "finished": "NULL::timestamptz",
    "duration": "NULL::float8",
}
LATER = {"status": "SCHEDULED", "run_after": "now() + interval '300 days'", "priority": "number % 201 - 100"}
DONE = {"status": "SUCCESSFUL", "started": "now()", "finished": "now()", "duration": "0.001"}
#: What waits there, and how many of it at full scale.
CROWDS = {
    "ready, of another queue": ({"status": "READY", "queue": "'other'"}, 1_000_000),
    "ready, of lower priority": ({"status": "READY", "priority": "-50"}, 1_000_000),
    "scheduled": (LATER, 1_000_000),
    "finished": (DONE, 10_000_000),
}


def crowded(bench: Bench) -> None:
    project = bench.ours
    for _ in range(bench.rounds):
        for what, kinds in {
            "nothing": (),
            **{kind: (kind,) for kind in CROWDS},
            "all": tuple(CROWDS),
        }.items():
            project.empty()
            count = sum(_insert(project, kind, bench.scale) for kind in kinds)
            beside = f"beside {what} ({count:,})" if count else "beside nothing"
            rate = enqueue(project, bench.size(project, 0.25))
            bench.figures.add(Key("P7", f"enqueue, {beside}"), OURS.name, rate)
            rate = _drain(project, bench.size(project), ("--queue", "default"))
            bench.figures.add(Key("P7", f"drain, {beside}"), OURS.name, rate)
    project.empty()


def _insert(project: Project, kind: str, scale: float) -> int:
    values, full = CROWDS[kind]
    count = int(full * scale)
    with project.server.connect(project.database) as connection:
        connection.execute(INSERT.format(**ANY | values, count=count))
        connection.execute("VACUUM ANALYZE")
    return count


def _drain(project: Project, jobs: int, extra: tuple[str, ...]) -> float:
    """Until these jobs have begun: by then others of their queue may still wait."""
    fill(project, "noop", jobs)
    already = project.begun()
    with project.workers([[*OURS.waiting[0], *extra]]) as workers:
        project.wait_for(already + jobs, workers)
    times = sorted(moment for _, moment in project.stamped())[:jobs]
    return jobs / (times[-1] - times[0])
