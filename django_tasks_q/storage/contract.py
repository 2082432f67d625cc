"""The contract of storage: every verb that the rest of the package may ask of a database, in its parts.

Each verb is one statement or one transaction, and takes its time from the database. A verb that the caller
runs inside a transaction is part of it. Verbs raise the errors of ``django.db``. A verb that lost to a
concurrent transaction through no fault of its own is repeated, unless it is part of the caller's transaction.
Ages, delays and leases are in seconds. ``backend`` is an alias in TASKS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from ..lifecycle.outcome import Outcome
from ..lifecycle.states import JobStatus
from .notifications import Concerns, EndListener, always
from .session import Listener, RoundTrip, RoundTripResult, Session
from .values import (
    Cancelled,
    Claim,
    ClaimedJob,
    ControlState,
    Decision,
    Declared,
    KnownSchedules,
    LostJob,
    NewJobs,
    NextDue,
    Note,
    Planned,
    Transition,
)

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from ..models import Schedule, Worker
    from ..models.job import JobQuerySet
    from .orm.queue_counts import QueueCounts, QueueKey

#: Given a schedule and an aware time, returns the first time after it at which the schedule is to fire.
First = Callable[["Schedule", datetime], "datetime | None"]
#: Given a schedule that is due, the time, and whether a job of it has not ended, returns what to do; None to
#: leave the schedule to other workers.
Decide = Callable[["Schedule", datetime, bool], Decision | None]
Store = Callable[[NewJobs], None]


class JobVerbs(Protocol):
    """Jobs: their way through a worker, and what people do to them."""

    def enqueue(self, send: NewJobs) -> None:
        """Insert jobs, all or none."""

    def claim(self, claim: Claim, limit: int) -> list[ClaimedJob]:
        """Make up to ``limit`` ready jobs RUNNING jobs of a worker, and return them.

        They are claimed in the order of ``storage.claimable``. Each gets a new fence, and its attempts are
        counted up. A job is returned by one claim only.
        """

    def claim_limited(self, claim: Claim, queue: str, limit: int) -> list[ClaimedJob]:
        """Claim from one queue, within the number of jobs that may run of it over all workers."""

    def has_ready(self, claim: Claim) -> bool:
        """Return whether there is a job for a worker to claim."""

    def has_work(self, claim: Claim) -> bool:
        """Return whether there is a job for a worker to claim, or one that is due to become ready."""

    def locked_work(self, claim: Claim) -> list[UUID]:
        """Return the first jobs that ``has_work()`` finds, if other transactions hold all of their rows.

        At most 100 are looked at. The list is empty if a worker can claim one of them.
        """

    def mark_begun(self, attempts: Collection[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
        """Mark attempts, each by job and fence, as ones that begin. Return those that still own their jobs.

        The mark is committed when this returns, unless it is part of the caller's transaction.
        """

    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        """Write endings of attempts. Return the states that the jobs have now, by their ids.

        An ending is written only if its attempt still owns the job: the job is RUNNING and has the fence of
        the attempt. The outcome of an id that is missing from the result is void. A job whose cancellation
        has been requested does not run again: it becomes CANCELLED instead. The row of the attempt is written
        with it. Raise DataError for an outcome that the database cannot store.
        """

    def finish_and_claim(self, outcomes: Collection[Outcome], claim: Claim, limit: int) -> RoundTripResult:
        """Write endings and then claim, in one transaction where that saves the database work."""

    def round_trip(self, outcomes: Sequence[Outcome], claim: Claim, limit: int) -> RoundTrip:
        """Start to write endings and to claim, and return at once where the database allows it.

        Until the result has been taken, no other statement may be sent on this process's connection.
        """

    def stands(self, outcomes: Collection[Outcome]) -> set[UUID]:
        """Return the ids of those final endings that an earlier ``finish()`` has written.

        A connection can break after a commit and before its confirmation. Only the attempt itself could end
        its job under its fence in this state and with this code.
        """

    def cancel(self, ids: Collection[UUID], reason: str = "") -> Cancelled:
        """Cancel jobs that wait, and request the cancellation of those that run.

        One statement does both, so that no job slips from one to the other in between. Jobs that have ended
        stay as they are.
        """

    def cancelling(self, worker_id: UUID) -> set[UUID]:
        """Return the running jobs of a worker whose cancellation has been requested."""

    def retry(self, ids: Collection[UUID], at: datetime | None = None) -> Transition:
        """Make unsuccessful jobs ready again, or schedule them for ``at``, with attempts counted from 0.

        The records of earlier attempts stay, and the fence grows on. An expiry that would prevent the start
        is removed.
        """

    def discard(self, ids: Collection[UUID], reason: str = "") -> Transition:
        """Cancel jobs that wait, and no others."""

    def dismiss(self, ids: Collection[UUID]) -> Transition:
        """Mark failed and expired jobs as dealt with."""

    def reschedule(self, ids: Collection[UUID], at: datetime | None) -> Transition:
        """Change the start of jobs that wait to ``at``; None makes them ready now."""

    def run_now(self, ids: Collection[UUID]) -> Transition:
        """Make scheduled jobs ready before their time."""

    def change(self, /, ids: Collection[UUID], **values: Any) -> Transition:
        """Change columns, such as the priority or the queue, of jobs that wait."""

    def pin(self, ids: Collection[UUID]) -> Transition:
        """Keep jobs from being pruned."""

    def unpin(self, ids: Collection[UUID]) -> Transition:
        """Allow jobs to be pruned again."""

    def delete(self, ids: Collection[UUID]) -> Transition:
        """Delete jobs that have ended, with all that is kept of them."""

    def labels(self, ids: Collection[UUID]) -> list[tuple[UUID, str, str]]:
        """Return id, queue and task of jobs."""


class MaintenanceVerbs(Protocol):
    """What keeps the tables in order. Any worker may do it, and several at once do no harm."""

    def promote(self, backend: str, limit: int = 1000) -> int:
        """Make up to ``limit`` scheduled jobs ready that are due. Return how many."""

    def next_due(self, backend: str) -> NextDue:
        """Return when the next scheduled job is due, and when the next job expires, by one statement.

        An expiry is only reported if it is near: past for less than a minute, or ahead for less than
        ``NEAR`` seconds. Where an index holds jobs that have ended as well, no others are read.
        """

    def expire(self, backend: str, limit: int = 500) -> list[UUID]:
        """End up to ``limit`` jobs that wait and whose expiry is past. Return their ids."""

    def unknown(
        self, backend: str, known: Collection[str], older_than: float, limit: int = 1000
    ) -> list[str]:
        """Return names of tasks that are not ``known``, of jobs that have been ready for that long.

        Only the first ``limit`` jobs in the order of a claim are read, where unclaimed jobs gather.
        """

    def lost(self, backend: str, limit: int = 500) -> list[LostJob]:
        """Return running jobs that no worker with a valid lease owns.

        That includes jobs whose worker has no row. A lease that has ended is never renewed, so a lost job
        stays lost until its ending is written.
        """

    def held(self, worker_id: UUID) -> list[LostJob]:
        """Return the running jobs of a worker."""

    def prune(
        self, backend: str, statuses: Collection[JobStatus], older_than: float, limit: int = 500
    ) -> int:
        """Delete up to ``limit`` jobs that ended longer ago than ``older_than``. Return how many.

        Jobs that are pinned and jobs with a retention of their own are kept.
        """

    def prune_retained(self, backend: str, retention: float, limit: int = 500) -> int:
        """Delete up to ``limit`` jobs whose own retention is this one and has passed. Return how many."""

    def clear_results(self, backend: str, result_ttl: float, limit: int = 500) -> int:
        """Clear up to ``limit`` results that were to be kept for ``result_ttl``. Return how many."""

    def own_times(self, backend: str, column: str) -> list[float]:
        """Return the different values of ``retention`` or ``result_ttl`` of jobs that have ended.

        Each value costs one probe of an index.
        """

    def forget_keys(self, older_than: float = ..., limit: int = 500) -> int:
        """Delete up to ``limit`` idempotency keys older than a day, or ``older_than``. Return how many."""


class WorkerVerbs(Protocol):
    """Workers and their leases."""

    def register(self, worker: Worker, lease: float) -> None:
        """Insert a worker whose lease lasts ``lease`` seconds."""

    def heartbeat(self, /, worker_id: UUID, lease: float, **columns: int | None) -> bool:
        """Renew the lease of a worker. Return False if it has ended: its jobs may belong to others now.

        ``columns`` are shown to people, and written with it. A twelfth of the lease must be left: the commit
        of a late renewal could be slow, and other workers could find the jobs lost before they see it.
        """

    def namesakes(self, worker_id: UUID, name: str) -> list[tuple[UUID, str, int]]:
        """Return id, host and process id of the other workers of a name that are alive."""

    def unregister(self, worker_id: UUID) -> None:
        """End the lease of a worker now, so that jobs that it still owns can be rescued at once."""

    def stop(self, worker_id: UUID) -> str | None:
        """Request that a worker stops. Return its backend; None if it has stopped or been asked already."""

    def forget(self, older_than: float = ..., limit: int = 500) -> int:
        """Delete up to ``limit`` workers whose lease ended a day ago, or ``older_than``. Return how many."""


class QueueVerbs(Protocol):
    """Queues: pauses, limits, and how many jobs there are."""

    def pause(self, backend: str, name: str, *, by: str, reason: str, until: datetime | None) -> bool:
        """Stop claims from a queue. Return whether it was not paused before.

        A queue that is paused already stays paused since then; person, reason and end are the new ones.
        """

    def resume(self, backend: str, name: str) -> bool:
        """Allow claims from a queue again. Return whether it was paused."""

    def limit(self, backend: str, name: str, max_running: int | None) -> bool:
        """Set how many jobs of a queue may run at a time; None for any number. Return whether it changed."""

    def vacancies(self, backend: str, name: str, *, locked: bool = False) -> int:
        """Return how many more jobs of a limited queue may run, and 0 if it is paused.

        With ``locked`` that stays so until the transaction ends, since every claim from a limited queue
        writes to its row first. To lock the row would not suffice: a transaction of a higher isolation level
        would count what was there before it waited.
        """

    def with_room(self, backend: str) -> list[str]:
        """Return the limited queues of which another job may run now and is ready, by two statements.

        They have the order of a claim of the first job in each. Others may take the room in the meantime.
        """

    def control(self, backend: str, worker_id: UUID) -> ControlState:
        """Return pauses, limits and a requested stop, by one statement, and when a schedule is due next."""

    def busy(self, backend: str | None = None) -> list[QueueKey]:
        """Return backend and name of each queue with ready, scheduled or running jobs, sorted.

        Without a backend return those of all. Each queue costs one probe of an index.
        """

    def count(
        self, queues: Collection[QueueKey], jobs: JobQuerySet | None = None, cap: int = ...
    ) -> dict[QueueKey, QueueCounts]:
        """Return how many jobs queues have, up to ``cap`` of a state, or fewer where there are many queues.

        With ``jobs`` only those of that query are counted, by one query for each queue.
        """


class ScheduleVerbs(Protocol):
    """Schedules and the record of their times."""

    def next_tick(self, backend: str, known: KnownSchedules) -> float | None:
        """Return the seconds until a known schedule fires, negative if it is due; None without one."""

    def fire(
        self, backend: str, known: KnownSchedules, decide: Decide, store: Store, limit: int = 20
    ) -> list[tuple[Schedule, Planned]]:
        """Carry out what ``decide`` returns for up to ``limit`` schedules that are due, in one transaction.

        Return what was carried out. A time never fires twice: the rows are locked or their next time is
        compared, and each time is recorded under a unique constraint.
        """

    def declare(
        self,
        backend: str,
        declared: Sequence[Schedule],
        first: First,
        worker_id: UUID | None = None,
        *,
        may_retire: bool = True,
    ) -> Declared:
        """Make the rows agree with the schedules that the code of a worker, or of another process, declares.

        Where live workers declare a schedule differently, the one that started last decides. A schedule of
        the code that no live worker declares is retired. One that a person has disabled stays disabled.
        """

    def enable(self, backend: str, name: str, first: First) -> bool | None:
        """Enable a schedule from now on. Return whether it was disabled; None without such a schedule."""

    def disable(self, backend: str, name: str, *, by: str, reason: str) -> bool | None:
        """Disable a schedule. Return whether it was enabled; None without such a schedule."""

    def skip_tick(self, backend: str, name: str, first: First, *, reason: str) -> datetime | None:
        """Leave out the next time of a schedule, and return it; None if it has none."""

    def run(
        self, backend: str, name: str, send_for: Callable[[Schedule], NewJobs], store: Store, reason: str
    ) -> UUID | None:
        """Enqueue a job of a schedule now, beside its times. Return its id; None without such a schedule."""

    def save(self, row: Schedule, first: First) -> bool:
        """Insert or change the schedule of a name that is defined in the database.

        Return False if the code has a schedule of that name. A changed timing counts from now on.
        """

    def delete(self, backend: str, name: str) -> bool:
        """Delete a schedule that is defined in the database, or retired. Return whether it did. Jobs stay."""

    def forget_firings(self, older_than: float, limit: int = 500) -> int:
        """Delete up to ``limit`` records of times that are older, but none of the latest of a schedule."""


class ProgressVerbs(Protocol):
    """What attempts report while they run."""

    def save(self, notes: Iterable[Note]) -> None:
        """Store progress and log lines of attempts that were the last to own their jobs. Drop the others.

        Of the progress of a job the last counts.
        """

    def save_metadata(self, job_id: UUID, fence: int, metadata: str) -> bool:
        """Store the metadata of a job if the attempt still owns it. Return whether it does."""


class StatisticVerbs(Protocol):
    """Counts of jobs by the minute, and later by the hour."""

    def count(self, backend: str, counted: Mapping[tuple[str, str], Mapping[str, float]]) -> None:
        """Add figures, by queue and task, to those of this minute."""

    def fold(self, backend: str) -> int:
        """Merge the rows of the first past hour into one for each queue and task. Return how many went."""

    def forget(self, backend: str, older_than: float, limit: int = 1000) -> int:
        """Delete up to ``limit`` rows that are older than ``older_than``. Return how many."""


class NotificationVerbs(Protocol):
    """Notifications between processes. They are sent once the caller's transaction has committed.

    None is guaranteed to arrive: workers and callers poll as well.
    """

    def notify_jobs(self, backend: str, queue: str = "", executor: str = "") -> None:
        """Wake workers that wait for jobs of a queue and of an executor; empty for any."""

    def notify_cancel(self, backend: str) -> None:
        """Make workers read which cancellations have been requested."""

    def notify_control(self, backend: str) -> None:
        """Make workers read pauses, limits and requested stops."""

    def notify_ended(self, backend: str, ids: Collection[UUID]) -> None:
        """Wake callers that wait for the end of these jobs."""

    def listen(self, backend: str, concerns: Concerns = always) -> Listener | None:
        """Return a listener for notifications; None where the database sends none.

        Those of jobs that do not concern the worker are dropped.
        """

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Change the settings of a connection that is to watch jobs, before it is opened."""

    def end_listener(self) -> EndListener | None:
        """Return a listener for the ends of jobs on this thread's connection; None where nothing is sent."""

    def ended(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of some jobs that have ended, or are not there."""

    def versions(self, ids: Collection[UUID]) -> dict[UUID, tuple[Any, ...]]:
        """Return what is different after each change of a job, of its progress and of its log."""


@dataclass
class Storage:
    """The verbs on one database, in parts that share one session."""

    session: Session
    jobs: JobVerbs
    maintenance: MaintenanceVerbs
    workers: WorkerVerbs
    queues: QueueVerbs
    schedules: ScheduleVerbs
    progress: ProgressVerbs
    statistics: StatisticVerbs
    notifications: NotificationVerbs
    #: Alias of the database.
    alias: str = field(init=False)

    def __post_init__(self) -> None:
        self.alias = self.session.alias
