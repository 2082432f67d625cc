"""SQLite: one writer at a time, so every write transaction asks for the lock before it reads."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from django.db import OperationalError, transaction

from ..lifecycle.outcome import Outcome
from ..lifecycle.states import JobStatus, require
from ..models import Job
from .claimable import sort_key
from .composition import composed
from .contract import Storage
from .orm.clock import DatabaseNow
from .orm.columns import columns_of
from .orm.jobs import Jobs, has_just_succeeded
from .orm.queue_counts import QueueKey
from .orm.queues import Queues
from .orm.workers import Workers
from .session import RoundTripResult, Session
from .timestamps import microseconds
from .values import FLOATS, IDS, TIMESTAMPS, Advice, Claim, ClaimedJob

# The transitions that the statements have in their texts.
require(JobStatus.READY, JobStatus.RUNNING)
require(JobStatus.RUNNING, JobStatus.SUCCESSFUL)

CLAIM = """
UPDATE {job}
SET status = 'RUNNING', fence = fence + 1, attempts = attempts + 1, worker_id = %s,
    started_at = COALESCE(started_at, %s), last_attempted_at = %s
WHERE id IN ({candidates})
RETURNING {columns}
"""


SUCCEED = """
UPDATE {job}
SET status = 'SUCCESSFUL', result = %s, error_code = '', duration = %s, finished_at = %s
WHERE id = %s
"""

#: Longest time in seconds that a worker waits for the write lock at once.
LOCK_WAIT = 1.0


class SQLiteSession(Session):
    # A query costs microseconds, and there are no notifications.
    shortest_pause, longest_pause = 0.004, 0.1

    @property
    def sees_commits(self) -> bool:
        return False  # its transactions read one state of the database, and keep the only lock

    def advice(self) -> Iterator[Advice]:
        options = self.connection.settings_dict["OPTIONS"]
        if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
            yield Advice(
                "W001",
                f"Database {self.alias!r} holds jobs, and its transactions take SQLite's write lock late, so "
                "concurrent writers fail with 'database is locked'.",
                f"Set DATABASES[{self.alias!r}]['OPTIONS']['transaction_mode'] = 'IMMEDIATE'.",
            )
        if "journal_mode" not in str(options.get("init_command", "")).lower():
            yield Advice(
                "W002",
                f"Database {self.alias!r} holds jobs, and does not ask for SQLite's write-ahead log, so "
                "readers and the writer wait for each other.",
                f"Set DATABASES[{self.alias!r}]['OPTIONS']['init_command'] = 'PRAGMA journal_mode=WAL'.",
            )

    @property
    def is_private(self) -> bool:
        return bool(self.connection.is_in_memory_db())  # type: ignore[attr-defined]

    def is_usable_in_copy(self) -> bool:
        # The library keeps its locks of a file in the memory of the process. One that another thread held
        # when the copy was made is never released there.
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout=500")
            with self.transaction():
                return True
        except OperationalError as error:
            if self.is_busy(error):
                return False
            raise
        finally:
            self.connection.close()

    def is_forbidden(self, error: Exception) -> bool:
        return isinstance(error, OperationalError) and "readonly database" in str(error)

    def is_busy(self, error: Exception) -> bool:
        return isinstance(error, OperationalError) and "locked" in str(error)

    def prepare_worker(self, seconds: float) -> None:
        super().prepare_worker(seconds)
        # No signal ends a wait for the lock, and a worker that waits does not see to its children.
        seconds = min(LOCK_WAIT, seconds / 2)
        options = self.connection.settings_dict["OPTIONS"]
        options["timeout"] = min(seconds, options.get("timeout", seconds))
        # Last, since the project's own commands may ask for another time.
        commands = [options.get("init_command", ""), f"PRAGMA busy_timeout={int(seconds * 1000)}"]
        options["init_command"] = ";".join(filter(None, commands))

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        # A transaction that first reads and then writes fails at once if another one wrote in between,
        # whatever the busy timeout. BEGIN IMMEDIATE waits its turn instead.
        connection = self.connection
        connection.ensure_connection()
        configured = connection.transaction_mode  # type: ignore[attr-defined]
        connection.transaction_mode = "IMMEDIATE"  # type: ignore[attr-defined]
        try:
            with transaction.atomic(using=self.alias, durable=durable):
                yield
            self._commit(durable=durable)
        finally:
            connection.transaction_mode = configured  # type: ignore[attr-defined]


class SQLiteJobs(Jobs):
    def claim(self, claim: Claim, limit: int) -> list[ClaimedJob]:
        # The query takes no lock, so workers that find no jobs do not keep others from writing.
        if not claim.task_names or (not self.connection.in_atomic_block and not self.has_ready(claim)):
            return []
        if not self.connection.features.can_return_columns_from_insert:
            return super().claim(claim, limit)
        with self.session.transaction(), self.connection.cursor() as cursor:
            # Only one transaction writes at a time, so what it finds is what it gets.
            first = self._ready(claim).in_claim_order().values("id")[:limit]
            candidates, values = first.query.sql_with_params()
            now = self._now()
            statement = self._statement(CLAIM, candidates=candidates)
            cursor.execute(statement, [claim.worker_id.hex, now, now, *values])
            jobs = list(map(self._claimed, cursor.fetchall()))
        jobs.sort(key=sort_key)  # RETURNING promises no order
        return jobs

    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        if not outcomes:
            return {}
        with self.session.transaction(), self.connection.cursor() as cursor:
            first = self._first_attempts(cursor, outcomes)
            plain = [
                outcome
                for outcome in outcomes
                if has_just_succeeded(outcome) and (outcome.job_id.hex, outcome.fence) in first
            ]
            now = self._now()
            cursor.executemany(
                self._statement(SUCCEED),
                [(outcome.result, outcome.duration, now, outcome.job_id.hex) for outcome in plain],
            )
            written = {outcome.job_id: JobStatus.SUCCESSFUL for outcome in plain}
            if others := [outcome for outcome in outcomes if outcome.job_id not in written]:
                written |= super().finish(others)
        return written

    def _first_attempts(self, cursor: Any, outcomes: Collection[Outcome]) -> set[tuple[str, int]]:
        """Id and fence of those jobs that run, and run for the first time."""
        first = Job.objects.using(self.alias).filter(
            id__in=[outcome.job_id for outcome in outcomes], status=JobStatus.RUNNING, attempts=1, crashes=0
        )
        cursor.execute(*first.values("id", "fence").query.sql_with_params())
        return set(cursor.fetchall())

    def finish_and_claim(self, outcomes: Collection[Outcome], claim: Claim, limit: int) -> RoundTripResult:
        with self.session.transaction():  # one wait for the disk
            return super().finish_and_claim(outcomes, claim, limit)

    def _statement(self, text: str, **more: str) -> str:
        table = self.connection.ops.quote_name(Job._meta.db_table)
        columns = columns_of(self.connection.ops.quote_name, ClaimedJob._fields)
        return text.format(job=table, columns=", ".join(columns), **more)

    def _now(self) -> Any:
        return self.connection.ops.adapt_datetimefield_value(DatabaseNow().moment)

    def _claimed(self, row: Sequence[Any]) -> ClaimedJob:
        """Return a job from its columns as they are in the file."""
        values, ops = [*row], cast("Any", self.connection.ops)
        for place in IDS:
            values[place] = UUID(hex=values[place])
        for place in FLOATS:
            if values[place] is not None:  # RETURNING gives a whole number as it is on the disk
                values[place] = float(values[place])
        for place in TIMESTAMPS:
            if values[place] is not None:
                read = ops.convert_datetimefield_value(values[place], None, self.connection)
                values[place] = microseconds(read)
        return ClaimedJob._make(values)


class SQLiteWorkers(Workers):
    def heartbeat(self, /, worker_id: UUID, lease: float, **columns: int | None) -> bool:
        # The host's time is asked for here: not before a wait for the write lock, but after.
        with self.session.transaction():
            return super().heartbeat(worker_id, lease, **columns)


class SQLiteQueues(Queues):
    queue_source = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(%s)"

    def _queue_values(self, queues: Sequence[QueueKey]) -> list[Any]:
        return [json.dumps(queues)]


def sqlite_storage(alias: str) -> Storage:
    """Return the storage of an SQLite database."""
    return composed(SQLiteSession(alias), jobs=SQLiteJobs, workers=SQLiteWorkers, queues=SQLiteQueues)
