"""PostgreSQL's verbs on jobs: those that are hot, each as one statement."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import OperationalError
from psycopg import Cursor, capabilities
from psycopg import Error as PsycopgError

from ...lifecycle.outcome import AttemptOutcome, Outcome
from ...lifecycle.states import JobStatus
from ..claimable import sort_key
from ..orm.columns import columns_of
from ..orm.jobs import Jobs, has_just_succeeded, legal
from ..orm.queues import Queues
from ..session import RoundTrip, RoundTripResult, is_in_transaction, repeated
from ..values import TIMESTAMPS, Claim, ClaimedJob, NewJobs
from . import statements
from .arrays import array, endings, quoted, successes
from .pipeline import Pipeline
from .prepared_session import is_watched
from .session import PostgreSQLSession

#: Seconds for which claims go on behind the last one. A job that comes in before it, because it is more
#: urgent or has been given back, may wait that long while there is a backlog.
KEEP_ON = 0.05


#: Outcomes of attempts whose worker is gone.
_RESCUES = (AttemptOutcome.LOST, AttemptOutcome.RESCUED)


class _Reached(NamedTuple):
    """How far a worker's last claim came."""

    claim: Claim
    priority: int
    id: UUID
    until: float


class PostgreSQLJobs(Jobs):
    """The verbs that are hot, each as one statement."""

    session: PostgreSQLSession

    def __init__(self, session: PostgreSQLSession, queues: Queues) -> None:
        super().__init__(session, queues)
        self._sql, self._prepared = session.sql, session.prepared
        #: Statements that store jobs, by the kind and by the columns that a send fills.
        self._storing: dict[tuple[str, tuple[str, ...]], str] = {}
        self._reached: _Reached | None = None

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
    def mark_begun(self, attempts: Collection[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
        in_order = sorted(attempts)  # as endings are written
        values = {"id": [id for id, _ in in_order], "fence": [fence for _, fence in in_order]}
        with self._prepared.cursor() as cursor:
            self._prepared.execute(cursor, self._sql["MARK"], values)
            return set(cursor.fetchall())

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
                rescues = any(outcome.kind in _RESCUES for outcome in others)
                statement = self._sql["RESCUE" if rescues else "FINISH"]
                self._prepared.execute(cursor, statement, endings(others))
                written |= {id: JobStatus(status) for id, status in cursor.fetchall()}
        return written

    def round_trip(self, outcomes: Sequence[Outcome], claim: Claim, limit: int) -> RoundTrip:
        if not outcomes or not all(map(has_just_succeeded, outcomes)) or not self._may_pipeline():
            return super().round_trip(outcomes, claim, limit)
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


class _InFlight(RoundTrip):
    """Endings and a claim that are on their way to the server and back."""

    is_in_flight = True

    def __init__(
        self,
        jobs: PostgreSQLJobs,
        outcomes: Sequence[Outcome],
        claim: Claim,
        limit: int,
        pipeline: Pipeline,
        statement: str,
    ) -> None:
        super().__init__(limit, partial(jobs.finish_and_claim, outcomes, claim, limit))
        self._jobs, self._outcomes, self._claim = jobs, outcomes, claim
        self._pipeline, self._statement = pipeline, statement

    def fileno(self) -> int:
        return self._pipeline.fileno()

    def has_landed(self) -> bool:
        with suppress(PsycopgError):  # result() raises it
            return self._pipeline.has_landed()
        return True

    def result(self) -> RoundTripResult:
        jobs = self._jobs
        try:
            with jobs.connection.wrap_database_errors:
                void, *claimed = self._pipeline.rows()
        except OperationalError as error:
            if not jobs.session.may_repeat(error):
                raise
            return super().result()  # the whole of it did nothing
        taken = []
        if claimed:
            taken = jobs._claimed(claimed[0], self._statement, self._claim, self.limit)
        return _succeeded(void, self._outcomes), taken


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
