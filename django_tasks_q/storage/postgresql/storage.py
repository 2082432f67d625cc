"""The verbs that are hot, each as one statement."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import OperationalError
from psycopg import Cursor, capabilities
from psycopg import Error as PsycopgError

from ...failpoints import failpoint
from ...lifecycle.outcome import AttemptOutcome, Outcome
from ...lifecycle.states import FINAL, JobStatus
from ...models import Attempt, Job
from ..claimable import sort_key
from ..orm.columns import columns_of
from ..orm.operations import PARTS, has_foreign_parts
from ..orm.storage import Storage, has_just_succeeded, legal
from ..session import (
    JobWaiter,
    Listener,
    RoundTrip,
    RoundTripResult,
    TookTooLong,
    is_in_transaction,
    repeated,
)
from ..values import TIMESTAMPS, Claim, ClaimedJob, NewJobs
from . import statements
from .arrays import array, endings, quoted, successes
from .notifications import (
    CANCEL,
    NOTIFY_INTERVAL,
    ORDERS,
    Notifier,
    PostgreSQLJobWaiter,
    PostgreSQLListener,
    channel,
)
from .pipeline import Pipeline
from .prepared_session import PreparedSession, is_watched

#: Seconds for which claims go on behind the last one. A job that comes in before it, because it is more
#: urgent or has been given back, may wait that long while there is a backlog.
KEEP_ON = 0.05

#: serialization_failure and deadlock_detected: the statement did nothing and may be repeated.
REPEATABLE = ("40001", "40P01")
#: query_canceled: by statement_timeout, or by somebody.
CANCELED = "57014"


class _Reached(NamedTuple):
    """How far a worker's last claim came."""

    claim: Claim
    priority: int
    id: UUID
    until: float


class PostgreSQLStorage(Storage):
    sends_notifications = True
    notify_interval = NOTIFY_INTERVAL
    queue_source = "SELECT * FROM unnest(%s::text[], %s::text[])"

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        quote = self.connection.ops.quote_name
        names = {
            "job": quote(Job._meta.db_table),
            "attempt": quote(Attempt._meta.db_table),
            "columns": ", ".join(f"job.{column}" for column in columns_of(quote, ClaimedJob._fields)),
            "parts": statements.parts(quote(part._meta.db_table) for part in PARTS),
            "inserted": "{inserted}",
            "values": "{values}",
        }
        self._sql = {
            name: text.format(**names, owned="", of_owned="")
            for name, text in vars(statements).items()
            if name.isupper() and not name.startswith("_") and type(text) is str
        }
        self._sql["RESCUE"] = statements.FINISH.format(
            **names, owned=statements.OWNED.format(**names), of_owned=" JOIN owned USING (id)"
        )
        #: Statements that store jobs, by the kind and by the columns that a send fills.
        self._storing: dict[tuple[str, tuple[str, ...]], str] = {}
        self._prepared = PreparedSession(alias)
        self._reached: _Reached | None = None
        self._notifier = Notifier(alias)

    def may_repeat(self, error: OperationalError) -> bool:
        return getattr(error.__cause__, "sqlstate", None) in REPEATABLE

    @property
    def sees_commits(self) -> bool:
        level = getattr(self.connection, "isolation_level", None)
        return getattr(level, "name", "READ_COMMITTED") in ("READ_COMMITTED", "READ_UNCOMMITTED")

    # Coming in

    def enqueue(self, send: NewJobs) -> None:
        with self._prepared.cursor() as cursor:
            if len(send.ids) == 1:
                values = (*send.ids, *send.arguments, *send.shared)
                self._prepared.execute(cursor, self._stores("INSERT", send), values)
            elif isinstance(cursor, Cursor):
                with cursor.copy(self._stores("COPY", send)) as copy:
                    for block in _blocks(send):
                        copy.write(block)
            else:
                super().enqueue(send)

    def _stores(self, kind: str, send: NewJobs) -> str:
        """The statement that stores a send, with its columns."""
        columns = send.columns
        if (statement := self._storing.get((kind, columns))) is None:
            inserted = ", ".join(columns_of(self.connection.ops.quote_name, columns))
            values = ", ".join(["%s"] * len(columns))
            statement = self._sql[kind].format(inserted=inserted, values=values)
            self._storing[kind, columns] = statement
        return statement

    # Running

    @repeated
    def claim(self, claim: Claim, limit: int) -> list[ClaimedJob]:
        with self._prepared.cursor(by_number=True) as cursor:
            statement, values = self._claiming(claim, limit)
            self._prepared.execute(cursor, statement, values)
            return self._claimed(cursor.fetchall(), statement, claim, limit)

    def _claiming(self, claim: Claim, limit: int) -> tuple[str, dict[str, Any]]:
        """The statement that fits a claim, and its values."""
        values = {
            "backend": claim.backend,
            "names": array(map(quoted, claim.task_names)),
            "worker": claim.worker_id.hex,
            "limit": limit,
        }
        queues = [queue for queue in claim.queues if queue not in claim.exclude_queues]
        if claim.queues and len(queues) == 1:
            return self._sql["CLAIM_OF_QUEUE"], {**values, "queue": queues[0]}
        if claim.queues:
            return self._sql["CLAIM_OF_QUEUES"], {**values, "queues": array(map(quoted, queues))}
        if claim.exclude_queues:
            return self._sql["CLAIM_OF_OTHERS"], {
                **values,
                "excluded": array(map(quoted, claim.exclude_queues)),
            }
        reached = self._reached
        if reached is not None and reached.claim == claim and time.monotonic() < reached.until:
            return self._sql["CLAIM_ON"], {**values, "priority": reached.priority, "after": reached.id.hex}
        self._reached = None
        return self._sql["CLAIM"], values

    def _claimed(
        self, rows: Iterable[Sequence[Any]], statement: str, claim: Claim, limit: int
    ) -> list[ClaimedJob]:
        rows = list(rows)
        by_django = rows and isinstance(rows[0][TIMESTAMPS[0]], datetime)
        jobs = list(map(ClaimedJob.of if by_django else ClaimedJob._make, rows))
        jobs.sort(key=sort_key)  # RETURNING promises no order
        if len(jobs) == limit:
            reached = self._reached
            until = reached.until if reached else time.monotonic() + KEEP_ON
            self._reached = _Reached(claim, jobs[-1].priority, jobs[-1].id, until)
            return jobs
        self._reached = None
        if statement == self._sql["CLAIM_ON"]:
            jobs += self.claim(claim, limit - len(jobs))
        return jobs

    @repeated
    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        # In one order everywhere, so that two batches never wait for each other.
        outcomes = sorted(outcomes, key=_job_id)
        succeeded = list(filter(has_just_succeeded, outcomes))
        written: dict[UUID, JobStatus] = {}
        with self._prepared.cursor() as cursor:
            if succeeded:
                self._prepared.execute(cursor, self._sql["SUCCEED"], successes(succeeded))
                written = _succeeded(cursor.fetchall(), succeeded)
            if len(succeeded) < len(outcomes) and (others := _others(outcomes)):
                rescues = any(outcome.kind is AttemptOutcome.LOST for outcome in others)
                statement = self._sql["RESCUE" if rescues else "FINISH"]
                self._prepared.execute(cursor, statement, endings(others))
                written |= {id: JobStatus(status) for id, status in cursor.fetchall()}
        return written

    def exchange(self, outcomes: Sequence[Outcome], claim: Claim, limit: int) -> RoundTrip:
        if not outcomes or not all(map(has_just_succeeded, outcomes)) or not self._may_pipeline():
            return super().exchange(outcomes, claim, limit)
        statements = [(self._sql["SUCCEED"], successes(sorted(outcomes, key=_job_id)))]
        if limit:
            statements.append(self._claiming(claim, limit))
        raw = self.connection.connection
        with self.connection.wrap_database_errors:
            pipeline = self._prepared.pipeline(raw)
            pipeline.send(statements)
        return _InFlight(self, outcomes, claim, limit, pipeline, statements[-1][0])

    def _may_pipeline(self) -> bool:
        connection = self.connection
        raw = connection.connection
        if raw is None or is_in_transaction(connection) or is_watched(connection):
            return False
        return capabilities.has_pipeline() and self._prepared.prepares(raw)

    @repeated
    def promote(self, backend: str, limit: int = 1000) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(self._sql["PROMOTE"], {"backend": backend, "limit": limit})
            return int(cursor.rowcount)

    # Leaving

    @repeated
    def prune(
        self, backend: str, statuses: Collection[JobStatus], older_than: float, limit: int = 500
    ) -> int:
        if has_foreign_parts():
            return super().prune(backend, statuses, older_than, limit)
        ended = array(sorted(FINAL.intersection(statuses)))
        return self._pruned("PRUNE", backend=backend, seconds=older_than, limit=limit, statuses=ended)

    @repeated
    def prune_retained(self, backend: str, retention: float, limit: int = 500) -> int:
        if has_foreign_parts():
            return super().prune_retained(backend, retention, limit)
        return self._pruned("PRUNE_RETAINED", backend=backend, seconds=retention, limit=limit)

    def _pruned(self, name: str, **values: Any) -> int:
        failpoint("prune.selected")
        with self._prepared.cursor() as cursor:
            self._prepared.execute(cursor, self._sql[name], values)
            return int(cursor.rowcount)

    # Hints

    def hint(self, backend: str) -> None:
        self._notifier.after_commit(backend)

    def notify_cancel(self, backend: str) -> None:
        self._notifier.after_commit(backend, CANCEL)

    def notify_control(self, backend: str) -> None:
        self._notifier.after_commit(backend, ORDERS)

    def notify_ended(self, backend: str, ids: Collection[UUID]) -> None:
        self._notifier.ended(backend, ids)

    def job_waiter(self, backend: str, id: UUID) -> JobWaiter | None:
        return PostgreSQLJobWaiter(self.alias, backend, id)

    def listen(self, backend: str) -> Listener | None:
        return PostgreSQLListener(self.alias, channel(backend))

    @contextmanager
    def reading(self, seconds: float) -> Iterator[None]:
        is_part = is_in_transaction(self.connection)
        try:
            with self.transaction(), self.connection.cursor() as cursor:
                cursor.execute(self._sql["LIMIT_TIME"], {"limit": f"{round(seconds * 1000)}ms"})
                before = cursor.fetchone()[0]
                yield
                if is_part:  # the limit would else stay until the caller's transaction ends
                    cursor.execute(self._sql["RESTORE_TIME"], {"limit": before})
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) == CANCELED:
                raise TookTooLong from error
            raise

    def prepare_worker(self, seconds: float) -> None:
        super().prepare_worker(seconds)
        self._prepared.is_worker = True
        options = self.connection.settings_dict["OPTIONS"]
        options.setdefault("connect_timeout", max(2, math.ceil(seconds)))

    def leave_worker(self) -> None:
        super().leave_worker()
        self._prepared.is_worker = False

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


class _InFlight(RoundTrip):
    """Endings and a claim that are on their way to the server and back."""

    is_in_flight = True

    def __init__(
        self,
        storage: PostgreSQLStorage,
        outcomes: Sequence[Outcome],
        claim: Claim,
        limit: int,
        pipeline: Pipeline,
        statement: str,
    ) -> None:
        super().__init__(limit, partial(storage.finish_and_claim, outcomes, claim, limit))
        self._storage, self._outcomes, self._claim = storage, outcomes, claim
        self._pipeline, self._statement = pipeline, statement

    def fileno(self) -> int:
        return self._pipeline.fileno()

    def has_landed(self) -> bool:
        with suppress(PsycopgError):  # the result tells
            return self._pipeline.has_landed()
        return True

    def result(self) -> RoundTripResult:
        storage = self._storage
        try:
            with storage.connection.wrap_database_errors:
                void, *claimed = self._pipeline.rows()
        except OperationalError as error:
            if not storage.may_repeat(error):
                raise
            return super().result()  # the whole of it did nothing
        jobs = []
        if claimed:
            jobs = storage._claimed(claimed[0], self._statement, self._claim, self.limit)
        return _succeeded(void, self._outcomes), jobs


def _blocks(send: NewJobs, rows: int = 1000) -> Iterator[str]:
    """Jobs in the text format of COPY, some at a time: the server takes them in while more are made."""
    end = "\t" + "\t".join(map(_copied, (*send.shared, *statements.STARTS_WITH.values()))) + "\n"
    for start in range(0, len(send.ids), rows):
        part = slice(start, start + rows)
        calls = zip(send.ids[part], send.arguments[part], strict=True)
        yield "".join([f"{id}\t{_copied(arguments)}{end}" for id, arguments in calls])


def _copied(value: Any) -> str:
    if value is None:
        return "\\N"
    text = value if type(value) is str else str(value)
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text


def _job_id(outcome: Outcome) -> int:
    return outcome.job_id.int


def _others(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return legal([outcome for outcome in outcomes if not has_just_succeeded(outcome)])


def _succeeded(void: Iterable[Sequence[UUID]], outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
    written = {outcome.job_id: JobStatus.SUCCESSFUL for outcome in outcomes}
    for (id,) in void:
        del written[id]
    return written
