"""Every verb on job rows, through the ORM, for any database that Django knows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    OperationalError,
    connections,
    transaction,
)
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Case, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import LessThanOrEqual

from ..failpoints import failpoint
from ..models import Attempt, Job, Worker
from ..models.job import JobQuerySet
from ..outcomes import CANCELLED, EXPIRED, Outcome
from ..states import FINAL, STARTABLE, JobStatus
from .clock import DatabaseNow
from .values import Advice, Cancelled, Claim, ClaimedJob, Hints, LostJob

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Storage")

#: How often a statement is repeated that lost to a concurrent one without any fault of its own.
MAX_REPEATS = 20


def repeated(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a verb again when the database asks for that: a deadlock, a serialization failure, a busy file."""

    @wraps(verb)
    def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        for _ in range(MAX_REPEATS):
            try:
                return verb(self, *args, **kwargs)
            except OperationalError as error:
                # Inside the caller's transaction only the caller can repeat the whole of it.
                if self.connection.in_atomic_block or not self.may_repeat(error):
                    raise
        return verb(self, *args, **kwargs)

    return wrapper


class Storage:
    """The verbs. Each is one statement or one transaction, and tells time by the database."""

    #: Seconds an idle worker sleeps at most before it looks again.
    poll_interval = 1.0
    #: Whether workers can be woken by hints, unless the settings say otherwise.
    sends_hints = False

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]

    def may_repeat(self, error: OperationalError) -> bool:
        # MySQL's and MariaDB's codes for a deadlock and for a lock that was waited for too long.
        return error.args[:1] in ((1213,), (1205,))

    def refuses(self, error: DatabaseError) -> bool:
        """Whether an error is about the values of a statement, and would meet it every time."""
        # MySQL and MariaDB put some of these among the operational ones: incorrect string value, packet
        # too large, out of range, data too long.
        return isinstance(error, DataError | IntegrityError) or error.args[:1] in (
            (1366,),
            (1153,),
            (1264,),
            (1406,),
        )

    def is_busy(self, error: Exception) -> bool:
        """Whether an error only says that others are at work, and that asking again will do."""
        return isinstance(error, OperationalError) and self.may_repeat(error)

    def prepare_worker(self, seconds: float) -> None:
        """Have this process's future connections give up on a database that is silent for ``seconds``.

        For what a signal cannot interrupt. To be called before the first connection.
        """

    def disconnect(self) -> None:
        """Leave a connection in whatever state it is, without waiting for its other end."""
        connection = self.connection
        with suppress(Exception):  # as when there is none
            connection.connection.close()
        connection.in_atomic_block = False
        with suppress(Error):
            connection.close()
        # An interrupted call may have left the wrapper in the middle of anything.
        del connections[self.alias]

    def before_fork(self) -> None:
        """Close what this process has open, so that no socket has two owners."""
        self.connection.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """A transaction that may write; ``durable`` makes sure that it is no part of another one."""
        with transaction.atomic(using=self.alias, durable=durable):
            yield

    def advice(self) -> Iterator[Advice]:
        """What to change in this database's settings."""
        yield from ()

    def migrations(self) -> set[str]:
        """Names of the app's migrations that the tables have seen."""
        applied = MigrationRecorder(self.connection).applied_migrations()
        return {name for app, name in applied if app == Job._meta.app_label}

    # Coming in

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Insert jobs in the caller's transaction, all or none."""
        if len(jobs) == 1:
            jobs[0].save(force_insert=True, using=self.alias)
        else:
            Job.objects.using(self.alias).bulk_create(jobs, batch_size=1000)

    def hint(self, backend: str) -> None:
        """Wake sleeping workers once the caller's transaction has committed. Polling does without."""

    def listen(self, backend: str) -> Listener | None:
        """A listener for hints, or None where the database sends none."""
        return None

    # Running

    @repeated
    def claim(self, claim: Claim, limit: int) -> list[ClaimedJob]:
        """Make up to ``limit`` ready jobs the worker's, most urgent first, each under a new fence."""
        with self.transaction():
            features = self.connection.features
            ready = self._ready(claim)
            if features.has_select_for_update:
                ready = ready.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
            ids = list(ready.order_by("-priority", "id").values_list("id", flat=True)[:limit])
            if not ids:
                return []
            now = DatabaseNow()
            candidates = Job.objects.using(self.alias).filter(id__in=ids)
            candidates.filter(status=JobStatus.READY).update(
                status=JobStatus.RUNNING,
                fence=F("fence") + 1,
                attempts=F("attempts") + 1,
                worker_id=claim.worker_id,
                started_at=Coalesce(F("started_at"), now),
                last_attempted_at=now,
            )
            # A candidate was ready a moment ago: if it is this worker's now, it came by this update.
            won = candidates.filter(status=JobStatus.RUNNING, worker_id=claim.worker_id)
            return [
                ClaimedJob(*row) for row in won.order_by("-priority", "id").values_list(*ClaimedJob._fields)
            ]

    def _ready(self, claim: Claim) -> JobQuerySet:
        return self._takeable(claim).filter(status=JobStatus.READY)

    def has_ready(self, claim: Claim) -> bool:
        """Whether there is a job for a worker to claim."""
        return self._ready(claim).exists()

    def _takeable(self, claim: Claim) -> JobQuerySet:
        jobs = Job.objects.using(self.alias).filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=DatabaseNow()),
            backend=claim.backend,
            task_name__in=claim.task_names,
        )
        if claim.queues:
            jobs = jobs.filter(queue_name__in=claim.queues)
        if claim.exclude_queues:
            jobs = jobs.exclude(queue_name__in=claim.exclude_queues)
        return jobs

    @repeated
    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        """Write endings, each only if its attempt still owns the job. Answers the states they led to.

        An id that is missing from the answer was taken from this attempt: its outcome is void. A job
        that somebody wants cancelled is not run again: where its outcome would have it, it is CANCELLED.
        """
        written: dict[UUID, JobStatus] = {}
        attempts: list[Attempt] = []
        with self.transaction():
            jobs = Job.objects.using(self.alias)
            # Locked in one order everywhere, so that two batches never wait for each other.
            rows = {
                row["id"]: row
                for row in self._locked(jobs.filter(id__in=[outcome.job_id for outcome in outcomes])).values(
                    "id", "attempts", "crashes", "worker_id", "last_attempted_at", "cancel_requested_at"
                )
            }
            for outcome in sorted(outcomes, key=lambda outcome: outcome.job_id):
                row = rows.get(outcome.job_id)
                owned = jobs.filter(id=outcome.job_id, fence=outcome.fence, status=JobStatus.RUNNING)
                if row is None or not owned.update(**(changes := _changes(outcome, row))):
                    continue
                written[outcome.job_id] = changes["status"]
                number = row["attempts"] + row["crashes"]
                if is_recorded(outcome, number):
                    attempts.append(_attempt(outcome, number, row))
            if attempts:
                Attempt.objects.using(self.alias).bulk_create(attempts)
        return written

    def _locked(self, jobs: JobQuerySet) -> JobQuerySet:
        """The same rows, in the order of their ids, and nobody else's until the transaction ends."""
        if self.connection.features.has_select_for_update:
            jobs = jobs.select_for_update()
        return jobs.order_by("id")

    def stands(self, outcomes: Collection[Outcome]) -> set[UUID]:
        """Of endings that ``finish`` did not write, the ids of those that an earlier try had written.

        The answer to a commit can be lost with the connection. Only this attempt could end a job under
        its fence in this state and with this code.
        """
        rows = Job.objects.using(self.alias).filter(id__in=[outcome.job_id for outcome in outcomes])
        found = set(rows.values_list("id", "fence", "status", "error_code"))
        return {
            outcome.job_id
            for outcome in outcomes
            if outcome.is_final
            and (
                outcome.job_id,
                outcome.fence,
                outcome.status.value,
                outcome.failure.code if outcome.failure else "",
            )
            in found
        }

    # Being cancelled

    @repeated
    def cancel(self, ids: Collection[UUID], reason: str = "") -> Cancelled:
        """Cancel jobs that wait, and ask for the end of those that run, in the caller's transaction.

        Jobs that have ended are left alone. A job is done or asked for by one statement, so that it
        cannot slip from one to the other in between.
        """
        with self.transaction():
            jobs = Job.objects.using(self.alias).filter(id__in=ids)
            unfinished = list(self._locked(jobs.unfinished()).values_list("id", flat=True))
            running = Q(status=JobStatus.RUNNING)
            Job.objects.using(self.alias).filter(id__in=unfinished).unfinished().update(
                cancel_requested_at=Coalesce(F("cancel_requested_at"), DatabaseNow()),
                cancel_reason=reason,
                finished_at=Case(When(running, then=None), default=DatabaseNow()),
                error_code=Case(When(running, then=F("error_code")), default=Value(CANCELLED)),
                # Last: MySQL computes each of these from the ones before it.
                status=Case(When(running, then=F("status")), default=Value(JobStatus.CANCELLED)),
            )
            rows = Job.objects.using(self.alias).filter(id__in=unfinished).values_list("id", "status")
            done = {id for id, status in rows if status == JobStatus.CANCELLED}
        return Cancelled(done, set(unfinished) - done)

    def cancelling(self, worker_id: UUID) -> set[UUID]:
        """The jobs a worker runs whose end was asked for."""
        rows = Job.objects.using(self.alias).filter(
            worker_id=worker_id, status=JobStatus.RUNNING, cancel_requested_at__isnull=False
        )
        return set(rows.values_list("id", flat=True))

    def hint_cancel(self, backend: str) -> None:
        """Have workers look for cancellations once the caller's transaction has committed."""

    # Keeping in order

    @repeated
    def promote(self, backend: str, limit: int = 1000) -> int:
        """Make up to ``limit`` scheduled jobs ready that are due. Answers how many."""
        due = Job.objects.using(self.alias).filter(
            status=JobStatus.SCHEDULED, backend=backend, run_after__lte=DatabaseNow()
        )
        # MySQL cannot limit a subquery of the table it updates, hence the list.
        ids = list(due.order_by("run_after").values_list("id", flat=True)[:limit])
        return due.filter(id__in=ids).update(status=JobStatus.READY) if ids else 0

    def next_due(self, backend: str) -> float | None:
        """Seconds until the next scheduled job is due, negative if it is already; None without one."""
        row = (
            Job.objects.using(self.alias)
            .filter(status=JobStatus.SCHEDULED, backend=backend, run_after__isnull=False)
            .order_by("run_after")
            .annotate(now=DatabaseNow())
            .values_list("run_after", "now")
            .first()
        )
        if row is None or row[0] is None:
            return None
        return (row[0] - row[1]).total_seconds()

    def has_work(self, claim: Claim) -> bool:
        """Whether a job that this worker could take is ready, or due to be."""
        due = Q(status=JobStatus.SCHEDULED, run_after__lte=DatabaseNow())
        return self._takeable(claim).filter(Q(status=JobStatus.READY) | due).exists()

    @repeated
    def expire(self, backend: str, limit: int = 500) -> list[UUID]:
        """End up to ``limit`` jobs that wait although they are not to be started any more. Answers which."""
        due = Job.objects.using(self.alias).filter(
            status__in=STARTABLE, backend=backend, expires_at__lte=DatabaseNow()
        )
        if not due.exists():
            return []
        with self.transaction():
            ids = list(self._locked(due).values_list("id", flat=True)[:limit])
            if ids:
                Job.objects.using(self.alias).filter(id__in=ids, status__in=STARTABLE).update(
                    finished_at=DatabaseNow(), error_code=EXPIRED, status=JobStatus.EXPIRED
                )
        return ids

    def unknown(
        self, backend: str, known: Collection[str], older_than: float, limit: int = 1000
    ) -> list[str]:
        """Names of tasks not ``known`` that ready jobs older than that many seconds are for.

        Only the first ``limit`` jobs in a claim's order are looked at: those that nobody takes gather there.
        """
        first = (
            Job.objects.using(self.alias)
            .filter(status=JobStatus.READY, backend=backend)
            .order_by("-priority", "id")
            .annotate(waited=LessThanOrEqual(F("enqueued_at"), DatabaseNow(-older_than)))
            .values_list("task_name", "waited")[:limit]
        )
        return sorted({name for name, waited in first if waited and name not in known})

    def lost(self, backend: str, limit: int = 500) -> list[LostJob]:
        """Running jobs that no worker with a lease owns.

        Not "the owner's lease is over": a row whose owner is missing altogether is lost as well. A
        lease that is over is never renewed, so what is found here stays lost until it is finished.
        """
        alive = Worker.objects.filter(id=OuterRef("worker_id"), lease_expires_at__gt=DatabaseNow())
        rows = (
            Job.objects.using(self.alias)
            .filter(~Exists(alive), status=JobStatus.RUNNING, backend=backend)
            .order_by("id")
            .values_list(*LostJob._fields)[:limit]
        )
        return [LostJob(*row) for row in rows]

    def held(self, worker_id: UUID) -> list[tuple[UUID, int]]:
        """Id and fence of each running job that is a worker's."""
        rows = Job.objects.using(self.alias).filter(status=JobStatus.RUNNING, worker_id=worker_id)
        return list(rows.values_list("id", "fence"))

    @repeated
    def prune(
        self, backend: str, statuses: Collection[JobStatus], older_than: float, limit: int = 500
    ) -> int:
        """Delete up to ``limit`` finished jobs, ended more than ``older_than`` seconds ago."""
        old = Job.objects.using(self.alias).filter(
            status__in=FINAL.intersection(statuses),
            finished_at__lt=DatabaseNow(-older_than),
            backend=backend,
        )
        ids = list(old.order_by("finished_at").values_list("id", flat=True)[:limit])
        if not ids:
            return 0
        failpoint("prune.selected")
        with self.transaction():
            # Again, now that nobody can change them: Django deletes by id alone.
            rows = Job.objects.using(self.alias).filter(id__in=ids, status__in=FINAL)
            features = self.connection.features
            if features.has_select_for_update:
                # Whoever deletes the same ones at the same time must not wait for this, nor this for it.
                skip = features.has_select_for_update_skip_locked
                rows = rows.select_for_update(skip_locked=skip)
            mine = list(rows.order_by("id").values_list("id", flat=True))
            Attempt.objects.using(self.alias).filter(job_id__in=mine).delete()
            Job.objects.using(self.alias).filter(id__in=mine).delete()
        return len(mine)

    # Workers

    @repeated
    def register(self, worker: Worker, lease: float) -> None:
        """Insert a worker with a lease of that many seconds."""
        worker.started_at = DatabaseNow()
        worker.heartbeat_at = DatabaseNow()
        worker.lease_expires_at = DatabaseNow(lease)
        worker.save(force_insert=True, using=self.alias)

    @repeated
    def heartbeat(self, worker_id: UUID, lease: float) -> bool:
        """Renew a lease that still holds. False means that it is over and its jobs are others' now.

        What is left of it must be a twelfth at least: a commit that is slow to come could else be read
        by nobody until others have found the jobs lost. The worker gives up by then too.
        """
        with self.transaction():
            # SQLite's time is asked for here: not before a wait for the write lock, but after.
            return bool(
                Worker.objects.using(self.alias)
                .filter(id=worker_id, lease_expires_at__gt=DatabaseNow(lease / 12), stopped_at__isnull=True)
                .update(heartbeat_at=DatabaseNow(), lease_expires_at=DatabaseNow(lease))
            )

    @repeated
    def unregister(self, worker_id: UUID) -> None:
        """End a worker's lease now; whatever it still owns can be rescued at once."""
        Worker.objects.using(self.alias).filter(id=worker_id, stopped_at__isnull=True).update(
            stopped_at=DatabaseNow(), lease_expires_at=DatabaseNow()
        )

    @repeated
    def forget_workers(self, older_than: float = timedelta(days=1).total_seconds()) -> int:
        """Delete the rows of workers whose lease ended more than ``older_than`` seconds ago."""
        return (
            Worker.objects.using(self.alias).filter(lease_expires_at__lt=DatabaseNow(-older_than)).delete()[0]
        )


class Listener:
    """A source of wake-up hints that a selector can wait for."""

    #: Whether what ``ask`` sent has come: until then hints may be lost on the way.
    is_answered = False

    def fileno(self) -> int:
        raise NotImplementedError

    def drain(self) -> Hints:
        """Take the hints that have come. Raises a database Error when no more can come."""
        raise NotImplementedError

    def ask(self) -> None:
        """Send this listener alone a hint, by way of the worker's other connection.

        Raises that one's Error. Once the hint has been drained, ``is_answered`` is true.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def is_recorded(outcome: Outcome, number: int) -> bool:
    """Whether an attempt gets a row of its own: it ended badly, or it is not the only one."""
    if outcome.is_uncounted:
        return outcome.duration is not None
    return outcome.failure is not None or number > 1


def _changes(outcome: Outcome, row: Mapping[str, Any]) -> dict[str, Any]:
    is_unwanted = row["cancel_requested_at"] is not None and not outcome.is_final
    changes: dict[str, Any] = {}
    if outcome.is_final or is_unwanted:
        changes["finished_at"] = DatabaseNow()
        changes["result"] = outcome.result
    elif outcome.status == JobStatus.SCHEDULED:
        changes["run_after"] = DatabaseNow(outcome.delay)
    if not outcome.is_uncounted:
        changes["duration"] = outcome.duration
        changes["error_code"] = outcome.failure.code if outcome.failure else ""
    if is_unwanted:
        changes["error_code"] = CANCELLED
    if not outcome.attempt_counts:
        changes["attempts"] = F("attempts") - 1
    if outcome.is_crash:
        changes["crashes"] = F("crashes") + 1
    return changes | {"status": JobStatus.CANCELLED if is_unwanted else outcome.status}


def _attempt(outcome: Outcome, number: int, row: Mapping[str, Any]) -> Attempt:
    failure = outcome.failure
    return Attempt(
        job_id=outcome.job_id,
        number=number,
        fence=outcome.fence,
        worker_id=row["worker_id"],
        outcome=outcome.kind.value,
        started_at=row["last_attempted_at"],
        finished_at=DatabaseNow(),
        duration=outcome.duration,
        error_code=failure.code if failure else "",
        exception_class=failure.exception_class if failure else "",
        exit_status=failure.exit_status if failure else None,
        message=failure.message if failure else "",
        traceback=failure.traceback if failure else "",
    )
