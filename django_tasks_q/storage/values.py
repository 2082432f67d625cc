"""Values that pass between storage and the layers above it, beside the models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, NewType, get_args, get_type_hints
from uuid import UUID

from .timestamps import microseconds, moment


class NewJobs(NamedTuple):
    """Calls of one task under the same options: an id and arguments for each, the rest for all."""

    ids: list[str]
    arguments: list[str]
    task_name: str
    queue_name: str
    backend: str
    priority: int
    status: str
    options: str
    max_attempts: int
    timeout: float | None
    run_after: datetime | None
    expires_at: datetime | None
    enqueued_at: datetime
    #: Columns that most jobs leave empty, by name.
    more: Mapping[str, Any] = {}

    @property
    def shared(self) -> tuple[Any, ...]:
        """The values that are the same for all jobs."""
        return (*self[2:-1], *self.more.values())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are filled. All others start empty."""
        return (*SENT_COLUMNS, *self.more)


#: The columns that are always filled.
SENT_COLUMNS = ("id", *NewJobs._fields[1:-1])


#: A date and time as a whole number: see ``storage.timestamps``.
Timestamp = NewType("Timestamp", int)


class ClaimedJob(NamedTuple):
    """A row that a worker now owns under ``fence``; ``attempts`` counts the run that begins.

    This is the one declaration of what a claim returns. A field is named as the column that it is read from.
    By the types the drivers' values and the records on the pipe to a child are converted: see ``IDS``,
    ``FLOATS`` and ``TIMESTAMPS``.
    """

    id: UUID
    fence: int
    task_name: str
    queue_name: str
    priority: int
    arguments: str
    options: str
    max_attempts: int
    timeout: float | None
    metadata: str | None
    attempts: int
    crashes: int
    enqueued_at: Timestamp
    last_attempted_at: Timestamp
    expires_at: Timestamp | None
    run_after: Timestamp | None
    rescues: int = 0

    @classmethod
    def of(cls, row: Sequence[Any]) -> ClaimedJob:
        """Return a job from its columns, as Django's fields read them."""
        return cls._make(microseconds(value) if isinstance(value, datetime) else value for value in row)

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns by name, as Django's fields have them."""
        columns: dict[str, Any] = self._asdict()
        for place in TIMESTAMPS:
            name = self._fields[place]
            if columns[name] is not None:
                columns[name] = moment(columns[name])
        return columns


def _places(kind: object) -> tuple[int, ...]:
    """Return the positions of a claimed job's fields that have this type, or this type or None."""
    types = get_type_hints(ClaimedJob)
    return tuple(
        place
        for place, name in enumerate(ClaimedJob._fields)
        if kind in (types[name], *get_args(types[name]))
    )


#: Positions in a claimed job of the ids, of the numbers of seconds, and of the dates and times.
IDS, FLOATS, TIMESTAMPS = _places(UUID), _places(float), _places(Timestamp)


class Advice(NamedTuple):
    """A setting of the database that will cost jobs or time, for ``manage.py check``."""

    id: str
    problem: str
    remedy: str


class NextDue(NamedTuple):
    """When something is due that waiting jobs wait for. Seconds from now, negative if it is past."""

    #: The start of the next scheduled job; None without one.
    start: float | None
    #: The next expiry of a job that waits; None if none is near.
    expiry: float | None


class LostJob(NamedTuple):
    """A running row that no worker knows of: its worker's lease is over, or a claim's reply was lost."""

    id: UUID
    fence: int
    crashes: int
    task_name: str
    options: str
    rescues: int
    begun_fence: int | None

    @property
    def has_begun(self) -> bool:
        """Whether its attempt is marked as one that begins. Without a mark that is not known."""
        return self.begun_fence == self.fence


class Notifications(NamedTuple):
    """What a worker has been notified of."""

    jobs: bool = False
    cancels: bool = False
    #: Jobs whose end a caller waits for.
    waited: frozenset[UUID] = frozenset()
    #: Whether pauses, limits or requested stops have changed.
    control: bool = False

    def __or__(self, other: Notifications) -> Notifications:
        return Notifications(
            self.jobs or other.jobs,
            self.cancels or other.cancels,
            self.waited | other.waited,
            self.control or other.control,
        )


class ControlState(NamedTuple):
    """What people have requested of a worker."""

    #: Whether it is to stop.
    stop: bool = False
    #: Queues to claim nothing from.
    paused: frozenset[str] = frozenset()
    #: How many jobs of a queue may run at a time, over all workers.
    limited: Mapping[str, int] = {}
    #: Seconds until the first of the pauses is over.
    changes_in: float = float("inf")
    #: Seconds until the first schedule is due, if that is soon; below 0 if it is already.
    fires_in: float = float("inf")


class Transition(NamedTuple):
    """The jobs that a verb has changed, and the others."""

    done: set[UUID]
    #: The states of the jobs that it has not changed. An id in neither has no job.
    others: dict[UUID, str]
    #: The backends of the jobs that it has changed.
    backends: set[str]


class Cancelled(NamedTuple):
    """Jobs that were cancelled, and running ones whose attempt is asked to end."""

    done: set[UUID]
    requested: set[UUID]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Which jobs a worker takes: those of one backend, of names it knows, of queues it serves."""

    worker_id: UUID
    backend: str
    task_names: Sequence[str]
    #: Only these queues; empty for all.
    queues: Sequence[str] = ()
    exclude_queues: Sequence[str] = ()


class ProgressNote(NamedTuple):
    """The progress of an attempt."""

    job_id: UUID
    fence: int
    current: float
    total: float | None
    message: str
    #: A value as JSON.
    value: str | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """The columns that are shown to people."""
        return dict(zip(self._fields[2:], self[2:], strict=True))


class LogNote(NamedTuple):
    """A line that an attempt has logged."""

    job_id: UUID
    fence: int
    level: int
    logger: str
    message: str
    #: Seconds since 1970, by the clock of the process.
    created: float


Note = ProgressNote | LogNote


class KnownSchedules(NamedTuple):
    """Which schedules a process can fire: those of its code, and those of tasks that it knows."""

    names: Collection[str]
    task_names: Collection[str]
    #: Primary keys of rows that the process has found it cannot read.
    unreadable: Collection[int] = ()


class ScheduleChange(NamedTuple):
    """What a declaration has changed in a row: "declared", "changed", "back" in the code, or "retired"."""

    name: str
    kind: str
    #: The old and the new value of each column of a schedule that was changed.
    columns: Mapping[str, tuple[Any, Any]] = MappingProxyType({})


class Declared(NamedTuple):
    """The result of a declaration."""

    #: Names that schedules defined in the database have.
    clashes: list[str]
    changes: list[ScheduleChange]


class Planned(NamedTuple):
    """What to do at one time of a schedule."""

    tick: datetime
    outcome: str
    #: The job to enqueue, if any.
    send: NewJobs | None
    reason: str = ""


class Decision(NamedTuple):
    """What to do with the due times of a schedule."""

    firings: list[Planned]
    next_at: datetime | None
