"""How many jobs wait and run in each queue, however many queues and jobs there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count as CountOf
from django.db.models.functions import Coalesce

from ...lifecycle.states import JobStatus
from ...models import Job
from ...models.job import JobQuerySet
from ..claimable import ORDER
from ..session import Part
from .counting import CAP, Count, counts, moment_of

#: Backend and name.
QueueKey = tuple[str, str]

#: Running jobs that are read to be counted by queue. There are as many as workers have taken.
RUNNING_CAP = 50_000
#: Rows that one call of ``count`` reads of each state, however many queues it is about, and the least
#: that a queue is counted to.
BUDGET, LEAST_CAP = 500_000, 200
#: Jobs of each priority that are looked at for the one that has been ready for longest.
FIRST = 20
#: Counts in one statement, where they are separate queries.
TERMS = 100

#: States whose jobs an index keeps apart by queue.
INDEXED = (JobStatus.READY, JobStatus.SCHEDULED)

# A loose index scan: one probe for each queue, whatever is in it. The state is written out, so that the
# planner knows which partial index will do.
PRESENT = """
WITH RECURSIVE present(name, number) AS (
    SELECT MIN(queue_name), 1 FROM {job} WHERE status = '{status}' AND backend = %s AND queue_name > %s
    UNION ALL
    SELECT (SELECT MIN(queue_name) FROM {job}
            WHERE status = '{status}' AND backend = %s AND queue_name > present.name), number + 1
    FROM present WHERE present.name IS NOT NULL AND number < {most}
)
SELECT name FROM present WHERE name IS NOT NULL
"""
#: Queues that one statement finds. MySQL and MariaDB end a recursion after a thousand rounds.
MOST_FOUND = 900

# Said as a range, and in its order, no other index will do (see ``CLAIM_OF_QUEUE``).
COUNTED = """
WITH RECURSIVE queue(backend, name) AS ({source}),
level(backend, name, priority) AS (
    SELECT backend, name, (
        SELECT priority FROM {job}
        WHERE status = 'READY' AND backend = queue.backend AND queue_name BETWEEN queue.name AND queue.name
        ORDER BY backend, queue_name, {order} LIMIT 1
    ) FROM queue
    UNION ALL
    SELECT backend, name, (
        SELECT priority FROM {job}
        WHERE status = 'READY' AND backend = level.backend AND queue_name BETWEEN level.name AND level.name
              AND priority < level.priority
        ORDER BY backend, queue_name, {order} LIMIT 1
    ) FROM level WHERE priority IS NOT NULL
),
oldest(backend, name, since) AS (
    SELECT backend, name, MIN((
        SELECT MIN(COALESCE(run_after, enqueued_at)) FROM (
            SELECT run_after, enqueued_at FROM {job}
            WHERE status = 'READY' AND backend = level.backend
                  AND queue_name BETWEEN level.name AND level.name AND priority = level.priority
            ORDER BY backend, queue_name, {order} LIMIT {first}
        ) AS first
    )) FROM level WHERE priority IS NOT NULL GROUP BY backend, name
)
SELECT queue.backend, queue.name, oldest.since, (
    SELECT COUNT(*) FROM (
        SELECT id FROM {job}
        WHERE status = 'READY' AND backend = queue.backend AND queue_name BETWEEN queue.name AND queue.name
        ORDER BY backend, queue_name, {order} LIMIT {cap}
    ) AS ready
), (
    SELECT COUNT(*) FROM (
        SELECT run_after FROM {job}
        WHERE status = 'SCHEDULED' AND backend = queue.backend
              AND queue_name BETWEEN queue.name AND queue.name
        ORDER BY backend, queue_name, run_after LIMIT {cap}
    ) AS scheduled
)
FROM queue LEFT JOIN oldest ON oldest.backend = queue.backend AND oldest.name = queue.name
"""


class QueueCounts(NamedTuple):
    """What is in a queue. ``ready_since`` is the time from which its longest waiting ready job could start.

    Where many jobs are ready, it is that of the longest waiting one among the first of each priority.
    """

    ready: Count
    scheduled: Count
    running: Count
    ready_since: datetime | None

    @property
    def has_jobs(self) -> bool:
        return bool(self.ready.number or self.scheduled.number or self.running.number)

    @property
    def is_capped(self) -> bool:
        """Whether there are more of a state than were counted."""
        return self.ready.is_capped or self.scheduled.is_capped or self.running.is_capped


class QueueCounting(Part):
    #: The statement's source of queues, from two lists of parameters, where the database counts them all by
    #: one statement.
    queue_source: str | None = None

    def busy(self, backend: str | None = None) -> list[QueueKey]:
        found = {queue for queue in self._running(None) if backend in (None, queue[0])}
        table = self.connection.ops.quote_name(Job._meta.db_table)
        with self.connection.cursor() as cursor:
            for status in INDEXED:
                statement = PRESENT.format(job=table, status=status.value, most=MOST_FOUND)
                for each in self._backends(status) if backend is None else (backend,):
                    names: list[str] = []
                    while len(names) % MOST_FOUND == 0:
                        before = len(names)
                        cursor.execute(statement, [each, names[-1] if names else "", each])
                        names += [name for (name,) in cursor.fetchall()]
                        if len(names) == before:
                            break
                    found.update((each, name) for name in names)
        return sorted(found)

    def count(
        self, queues: Collection[QueueKey], jobs: JobQuerySet | None = None, cap: int = CAP
    ) -> dict[QueueKey, QueueCounts]:
        queues = sorted(set(queues))
        if not queues:
            return {}
        cap = max(min(cap, LEAST_CAP), min(cap, BUDGET // len(queues)))
        running = self._running(jobs)
        one_by_one = jobs is not None or self.queue_source is None
        rows = self._counted_apart(queues, jobs, cap) if one_by_one else self._counted(queues, cap)
        is_capped = sum(running.values()) >= RUNNING_CAP
        return {
            queue: QueueCounts(
                ready, scheduled, Count(min(running.get(queue, 0), cap), is_capped, None), since
            )
            for queue, ready, scheduled, since in rows
        }

    def _backends(self, status: JobStatus) -> Iterator[str]:
        rows = Job.objects.using(self.alias).filter(status=status).order_by("backend")
        found = rows.values_list("backend", flat=True).first()
        while found is not None:
            yield found
            found = rows.filter(backend__gt=found).values_list("backend", flat=True).first()

    def _running(self, jobs: JobQuerySet | None) -> Mapping[QueueKey, int]:
        jobs = Job.objects.using(self.alias) if jobs is None else jobs
        first = jobs.filter(status=JobStatus.RUNNING).order_by().values("backend", "queue_name")[:RUNNING_CAP]
        rows = first.values_list("backend", "queue_name").annotate(number=CountOf("*"))
        return {(backend, name): number for backend, name, number in rows}

    def _counted(self, queues: Sequence[QueueKey], cap: int) -> Iterable[Any]:
        statement = COUNTED.format(
            job=self.connection.ops.quote_name(Job._meta.db_table),
            source=self.queue_source,
            order=ORDER,
            first=FIRST,
            cap=cap + 1,
        )
        with self.connection.cursor() as cursor:
            cursor.execute(statement, self._queue_values(queues))
            for backend, name, since, ready, scheduled in cursor.fetchall():
                yield (
                    (backend, name),
                    Count(min(ready, cap), ready > cap, None),
                    Count(min(scheduled, cap), scheduled > cap, None),
                    moment_of(since, self.alias),
                )

    def _queue_values(self, queues: Sequence[QueueKey]) -> list[Any]:
        return [[backend for backend, _ in queues], [name for _, name in queues]]

    def _counted_apart(self, queues: Sequence[QueueKey], jobs: JobQuerySet | None, cap: int) -> Iterator[Any]:
        jobs = Job.objects.using(self.alias) if jobs is None else jobs
        jobs = jobs.annotate(since=Coalesce("run_after", "enqueued_at"))
        for start in range(0, len(queues), TERMS // len(INDEXED)):
            part = queues[start : start + TERMS // len(INDEXED)]
            counted = counts(
                {
                    (queue, status): jobs.filter(backend=queue[0], queue_name=queue[1], status=status)
                    for queue in part
                    for status in INDEXED
                },
                "since",
                self.alias,
                cap,
            )
            for queue in part:
                ready, scheduled = (counted[queue, status] for status in INDEXED)
                yield queue, ready._replace(least=None), scheduled._replace(least=None), ready.least
