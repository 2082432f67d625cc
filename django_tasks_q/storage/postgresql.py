"""PostgreSQL: the hot verbs as single statements, and wake-up hints by LISTEN and NOTIFY."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.db import InterfaceError, OperationalError, connections, transaction
from psycopg import Error as PsycopgError

from ..failpoints import failpoint
from ..models import Attempt, Job
from ..outcomes import AttemptOutcome, Outcome
from ..states import FINAL, JobStatus
from .base import Storage, is_recorded
from .session import Listener, repeated
from .values import Claim, ClaimedJob, Hints

#: Seconds between two hints that one process sends for one backend. Workers that were woken look
#: again on their own before this is over.
HINT_INTERVAL = 0.01

#: What a hint says when it is not about new jobs. Anybody may send it: it only makes workers look.
CANCEL = "cancel"

#: serialization_failure and deadlock_detected: the statement did nothing and may be repeated.
REPEATABLE = ("40001", "40P01")

# The candidates are locked in the index's own order, in a CTE that is evaluated once: in a plain
# subquery the planner may run LIMIT … SKIP LOCKED several times over (manual, 13.3.5).
CLAIM = """
WITH candidate AS MATERIALIZED (
    SELECT id FROM {job}
    WHERE status = 'READY' AND backend = %(backend)s AND task_name = ANY(%(names)s)
      AND (expires_at IS NULL OR expires_at > STATEMENT_TIMESTAMP())
      AND (%(queues)s::text[] IS NULL OR queue_name = ANY(%(queues)s))
      AND (%(excluded)s::text[] IS NULL OR queue_name <> ALL(%(excluded)s))
    ORDER BY priority DESC, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE {job} AS job
SET status = 'RUNNING', fence = fence + 1, attempts = attempts + 1, worker_id = %(worker)s,
    started_at = COALESCE(started_at, STATEMENT_TIMESTAMP()), last_attempted_at = STATEMENT_TIMESTAMP()
FROM candidate
WHERE job.id = candidate.id AND job.status = 'READY'
RETURNING {columns}
"""

# READ COMMITTED checks the WHERE again on the newest version of each row (manual, 13.2.1): that makes
# "fence and status as I knew them" a fence. The row of the attempt is written with it or not at all.
FINISH = """
WITH ending AS MATERIALIZED (
    SELECT * FROM unnest(
        %(id)s::uuid[], %(fence)s::int[], %(status)s::text[], %(final)s::bool[], %(delay)s::float8[],
        %(result)s::text[], %(duration)s::float8[], %(kind)s::text[], %(recorded)s::bool[],
        %(uncounted)s::bool[], %(crashed)s::bool[], %(code)s::text[], %(exception)s::text[],
        %(message)s::text[], %(traceback)s::text[], %(exit_status)s::int[]
    ) AS ending(id, fence, status, final, delay, result, duration, kind, recorded, uncounted, crashed,
                code, exception, message, traceback, exit_status)
){owned}, ended AS (
    UPDATE {job} AS job
    SET status = CASE WHEN job.cancel_requested_at IS NULL OR ending.final THEN ending.status
                      ELSE 'CANCELLED' END,
        result = ending.result,
        error_code = CASE WHEN job.cancel_requested_at IS NOT NULL AND NOT ending.final THEN 'CANCELLED'
                          WHEN ending.uncounted THEN job.error_code ELSE ending.code END,
        duration = CASE WHEN ending.uncounted THEN job.duration ELSE ending.duration END,
        attempts = job.attempts - (ending.uncounted OR ending.crashed)::int,
        crashes = job.crashes + ending.crashed::int,
        finished_at = CASE WHEN ending.final OR job.cancel_requested_at IS NOT NULL
                           THEN STATEMENT_TIMESTAMP() END,
        run_after = CASE WHEN ending.status = 'SCHEDULED'
                         THEN STATEMENT_TIMESTAMP() + ending.delay * INTERVAL '1 second'
                         ELSE job.run_after END
    FROM ending{of_owned}
    WHERE job.id = ending.id AND job.fence = ending.fence AND job.status = 'RUNNING'
    RETURNING job.id, job.status, job.attempts::int + job.crashes + ending.uncounted::int AS number,
              job.last_attempted_at, job.worker_id
), attempt AS (
    INSERT INTO {attempt} (job_id, number, fence, worker_id, outcome, started_at, finished_at, duration,
                           error_code, exception_class, message, traceback, exit_status)
    SELECT ended.id, ended.number, ending.fence, ended.worker_id, ending.kind, ended.last_attempted_at,
           STATEMENT_TIMESTAMP(), ending.duration, ending.code, ending.exception, ending.message,
           ending.traceback, ending.exit_status
    FROM ended JOIN ending USING (id)
    WHERE ending.recorded OR (ended.number > 1 AND NOT ending.uncounted)
)
SELECT id, status FROM ended
"""

# Several workers may rescue the same jobs at once, while one that is slow is finishing them after all. Who
# rescues waits for nobody, so it is never one of two that wait for each other.
OWNED = """, owned AS MATERIALIZED (
    SELECT job.id FROM {job} AS job JOIN ending USING (id)
    WHERE job.fence = ending.fence AND job.status = 'RUNNING'
    FOR NO KEY UPDATE OF job SKIP LOCKED
)"""

PROMOTE = """
UPDATE {job} SET status = 'READY'
WHERE status = 'SCHEDULED' AND id = ANY(ARRAY(
    SELECT id FROM {job}
    WHERE status = 'SCHEDULED' AND backend = %(backend)s AND run_after <= STATEMENT_TIMESTAMP()
    ORDER BY run_after
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
"""


class PostgreSQLStorage(Storage):
    sends_hints = True

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        quote = self.connection.ops.quote_name
        column_of = {field.name: str(field.column) for field in Job._meta.concrete_fields}
        names = {
            "job": quote(Job._meta.db_table),
            "attempt": quote(Attempt._meta.db_table),
            "columns": ", ".join(f"job.{quote(column_of[name])}" for name in ClaimedJob._fields),
        }
        self._claim = CLAIM.format(**names)
        self._finish = FINISH.format(**names, owned="", of_owned="")
        self._rescue = FINISH.format(**names, owned=OWNED.format(**names), of_owned=" JOIN owned USING (id)")
        self._promote = PROMOTE.format(**names)
        self._hinted: dict[str, float] = {}

    def may_repeat(self, error: OperationalError) -> bool:
        return getattr(error.__cause__, "sqlstate", None) in REPEATABLE

    @repeated
    def claim(self, claim: Claim, limit: int) -> list[ClaimedJob]:
        parameters = {
            "backend": claim.backend,
            "names": list(claim.task_names),
            "queues": list(claim.queues) or None,
            "excluded": list(claim.exclude_queues) or None,
            "worker": claim.worker_id,
            "limit": limit,
        }
        with self.connection.cursor() as cursor:
            cursor.execute(self._claim, parameters)
            jobs = [ClaimedJob._make(row) for row in cursor.fetchall()]
        jobs.sort(key=lambda job: (-job.priority, job.id))  # RETURNING promises no order
        return jobs

    @repeated
    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        if not outcomes:
            return {}
        # In one order everywhere, so that two batches never wait for each other.
        rows = [_ending(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.job_id)]
        parameters: dict[str, Any] = dict(
            zip(_Ending._fields, map(list, zip(*rows, strict=True)), strict=True)
        )
        rescues = any(outcome.kind is AttemptOutcome.LOST for outcome in outcomes)
        with self.connection.cursor() as cursor:
            cursor.execute(self._rescue if rescues else self._finish, parameters)
            return {id: JobStatus(status) for id, status in cursor.fetchall()}

    @repeated
    def promote(self, backend: str, limit: int = 1000) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(self._promote, {"backend": backend, "limit": limit})
            return int(cursor.rowcount)

    def hint(self, backend: str) -> None:
        self._after_commit(lambda: self._hint(backend))

    def hint_cancel(self, backend: str) -> None:
        self._after_commit(lambda: self._notify(backend, CANCEL))

    def _after_commit(self, send: Callable[[], None]) -> None:
        connection = self.connection
        if not connection.in_atomic_block and not connection.get_autocommit():
            return  # nobody says when such a transaction commits; polling finds out
        transaction.on_commit(send, using=self.alias, robust=True)

    def _hint(self, backend: str) -> None:
        failpoint("enqueue.committed")
        now = time.monotonic()
        if now - self._hinted.get(backend, float("-inf")) < HINT_INTERVAL:
            return
        self._hinted[backend] = now
        self._notify(backend)

    def _notify(self, backend: str, payload: str = "") -> None:
        raw = self.connection.connection
        if raw is not None:
            # Past Django's cursor: a hint is no query of the caller's, and is not counted as one.
            raw.execute("SELECT pg_notify(%s, %s)", (channel(backend), payload))

    def listen(self, backend: str) -> Listener | None:
        return PostgreSQLListener(self.alias, channel(backend))

    def prepare_worker(self, seconds: float) -> None:
        options = self.connection.settings_dict["OPTIONS"]
        options.setdefault("connect_timeout", max(2, math.ceil(seconds)))

    def before_fork(self) -> None:
        super().before_fork()
        options = self.connection.settings_dict["OPTIONS"]
        if not (pool := options.get("pool")):
            return
        self.connection.close_pool()  # type: ignore[attr-defined]
        # A process of the worker does one thing at a time: its sessions are opened when they are needed.
        pool = {} if pool is True else pool
        largest = pool.get("max_size") or pool.get("min_size", 4)
        options["pool"] = {**pool, "min_size": 0, "max_size": max(1, largest)}


class PostgreSQLListener(Listener):
    """LISTEN on a connection of its own, since a session that listens should do nothing else."""

    def __init__(self, alias: str, channel: str) -> None:
        self._alias = alias
        self._channel = channel
        self._own_channel = f"{channel}_{uuid4().hex[:16]}"
        wrapper: Any = connections[alias]
        with wrapper.wrap_database_errors:
            # Not by way of Django's pool, which would miss it for ever.
            self._connection = wrapper.Database.connect(**wrapper.get_connection_params())
            self._connection.autocommit = True
            self._connection.execute(f'LISTEN "{channel}"')
            self._connection.execute(f'LISTEN "{self._own_channel}"')

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def drain(self) -> Hints:
        try:
            heard = {(note.channel, note.payload) for note in self._connection.notifies(timeout=0)}
        except PsycopgError as error:
            raise InterfaceError(str(error)) from error
        self.is_answered |= any(channel == self._own_channel for channel, _ in heard)
        payloads = {payload for channel, payload in heard if channel == self._channel}
        return Hints(jobs=bool(payloads - {CANCEL}), cancels=CANCEL in payloads)

    def ask(self) -> None:
        self.is_answered = False
        # On another session: behind a pooler the listening one might hear itself and nobody else.
        with connections[self._alias].cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", (self._own_channel,))

    def close(self) -> None:
        self._connection.close()


def channel(backend: str) -> str:
    """The name hints for a backend travel under: the alias may hold what an identifier may not."""
    return f"django_tasks_q_{hashlib.sha256(backend.encode()).hexdigest()[:16]}"


class _Ending(NamedTuple):
    """A row of the FINISH statement's parameters, which are one array a field."""

    id: UUID
    fence: int
    status: str
    final: bool
    delay: float
    result: str | None
    duration: float | None
    kind: str
    recorded: bool
    uncounted: bool
    crashed: bool
    code: str
    exception: str
    message: str
    traceback: str
    exit_status: int | None


def _ending(outcome: Outcome) -> _Ending:
    failure = outcome.failure
    return _Ending(
        id=outcome.job_id,
        fence=outcome.fence,
        status=outcome.status.value,
        final=outcome.status in FINAL,
        delay=outcome.delay,
        result=outcome.result,
        duration=outcome.duration,
        kind=outcome.kind.value,
        recorded=is_recorded(outcome, 1),
        uncounted=outcome.is_uncounted,
        crashed=outcome.is_crash,
        code=failure.code if failure else "",
        exception=failure.exception_class if failure else "",
        message=failure.message if failure else "",
        traceback=failure.traceback if failure else "",
        exit_status=failure.exit_status if failure else None,
    )
