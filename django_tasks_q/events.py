"""The events of a worker, and the dispatcher that calls their subscribers in the same process.

The module lies above storage, whose values the events carry. It knows neither publishers nor subscribers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from .lifecycle.outcome import Outcome
from .lifecycle.states import FINAL, JobStatus
from .storage import ClaimedJob, Note


def _final(states: Mapping[UUID, JobStatus]) -> list[UUID]:
    return [id for id, status in states.items() if status in FINAL]


class JobsClaimed(NamedTuple):
    """The worker has claimed jobs."""

    jobs: Sequence[ClaimedJob]


class AttemptsEnded(NamedTuple):
    """A child has reported how attempts ended. Nothing of that is written yet."""

    #: The key of the child.
    child: int
    #: Each outcome, and whether the child has receivers of ``task_finished`` for it.
    outcomes: Sequence[tuple[Outcome, bool]]


class EndingsWritten(NamedTuple):
    """A batch of endings has been offered to the database."""

    #: Each outcome, and its job unless the worker did not hold it any more.
    endings: Sequence[tuple[Outcome, ClaimedJob | None]]
    #: The state of each job whose ending was written. A job that is missing belongs to another worker.
    written: Mapping[UUID, JobStatus]


class JobsExpired(NamedTuple):
    """Jobs were not started in time and have ended."""

    ids: Sequence[UUID]


class JobsRescued(NamedTuple):
    """Jobs of lost workers have become ready or have ended."""

    states: Mapping[UUID, JobStatus]
    #: Those of them whose attempts do not count.
    uncounted: Collection[UUID] = ()

    @property
    def ended(self) -> list[UUID]:
        """The jobs that have ended."""
        return _final(self.states)


class OrphansReleased(NamedTuple):
    """Jobs of this worker that it did not know of have become ready or have ended."""

    states: Mapping[UUID, JobStatus]

    @property
    def ended(self) -> list[UUID]:
        """The jobs that have ended."""
        return _final(self.states)


class ProgressReceived(NamedTuple):
    """A running attempt has sent a progress update or a line of its log."""

    update: Note


class ChildExited(NamedTuple):
    """A child process has ended. Its bookkeeping is removed after this event."""

    #: The key of the child.
    child: int
    #: Whether it was running attempts.
    was_running: bool


class ExecutorRecovered(NamedTuple):
    """Children of an executor can be started again."""

    executor: str


class LeaseRenewed(NamedTuple):
    """The worker has taken or renewed its lease."""

    worker_id: UUID
    #: Seconds that the lease lasts from now on.
    seconds: float
    #: When the children must be dead without another renewal, on the boot-time clock.
    kill_at: float


class LeaseLost(NamedTuple):
    """The lease is over. Other workers may run this worker's jobs."""

    worker_id: UUID


class WorkerStopped(NamedTuple):
    """The worker has ended its lease."""

    worker_id: UUID


class StopRequested(NamedTuple):
    """An operator has asked the worker to stop by way of the database."""

    worker_id: UUID


class ShutdownStarted(NamedTuple):
    """The worker claims nothing more."""

    #: Seconds that running jobs have to finish.
    timeout: float
    #: How many jobs it still holds.
    held: int


Event = TypeVar("Event", bound=tuple[Any, ...])
Subscriber = Callable[[Event], object]


class Events:
    """Calls subscribers synchronously, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: dict[type, list[Subscriber[Any]]] = {}

    def subscribe(self, kind: type[Event], subscriber: Subscriber[Event]) -> None:
        """Call ``subscriber`` with each event of a kind."""
        self._subscribers.setdefault(kind, []).append(subscriber)

    def publish(self, event: tuple[Any, ...]) -> None:
        """Call the subscribers of an event. Raises what they raise."""
        for subscriber in self._subscribers.get(type(event), ()):
            subscriber(event)
