"""The table of maintenance: what is done, how often, and by which function.

A function takes a ``Context`` and returns a ``MaintenanceReport``. Two workers that run the same entry at
once do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from ..conf import Options
from ..lifecycle.states import JobStatus
from ..scheduling.fire import Firings
from ..storage import Storage
from .expire import BATCH as EXPIRED_AT_ONCE
from .expire import expire
from .orphans import release_orphans
from .promote import promote
from .prune import SLICE, forget, prune
from .rescue import BATCH as RESCUED_AT_ONCE
from .rescue import rescue
from .statistics import condense
from .unknown_tasks import report_unknown

#: Seconds between two slices of a deletion, and two batches of a rescue, so that claims come in between.
NEXT_SLICE = 0.1
#: Seconds between two queries for due schedules where none is known to be due before.
FIRE_INTERVAL = 300.0
#: Seconds between two warnings about the same unknown tasks.
WARN_AGAIN = 3600.0
#: Seconds by which a due time is exceeded, so that it has passed by the database's clock as well.
CLOCK_MARGIN = 0.002

#: The entries that find out whether jobs that are ready once more have expired.
_AFTER_RETURN = ("expire",)


class Context(NamedTuple):
    """What the functions of the table are called with."""

    storage: Storage
    #: The alias of the backend in TASKS.
    backend: str
    settings: Options
    #: The names of the tasks that this process can run.
    known_tasks: Collection[str]
    firings: Firings
    worker_id: UUID
    #: The attempts that the worker holds, each by job and fence.
    held: Container[tuple[UUID, int]]
    #: Seconds between two queries for scheduled jobs that are due.
    poll_interval: float


class MaintenanceReport(NamedTuple):
    """What one entry of the table did, or several of them."""

    #: How many jobs became ready.
    ready: int = 0
    #: Jobs that have expired.
    expired: Sequence[UUID] = ()
    #: The new states of jobs of lost workers.
    rescued: Mapping[UUID, JobStatus] = {}
    #: Those of them whose attempts do not count.
    uncounted: Collection[UUID] = ()
    #: The new states of orphans: jobs of this worker that it did not know of.
    released: Mapping[UUID, JobStatus] = {}
    #: Seconds until the entry is run again; None for its interval.
    next_in: float | None = None
    #: The names of other entries that are due now.
    triggers: tuple[str, ...] = ()

    def __or__(self, other: MaintenanceReport) -> MaintenanceReport:
        """Both reports as one. When to run again is not part of it."""
        return MaintenanceReport(
            self.ready + other.ready,
            (*self.expired, *other.expired),
            {**self.rescued, **other.rescued},
            (*self.uncounted, *other.uncounted),
            {**self.released, **other.released},
        )


class Entry(NamedTuple):
    """One line of the table."""

    name: str
    #: Seconds between two runs.
    interval: float
    function: Callable[[Context], MaintenanceReport]
    #: The share of the interval by which a run may come early, at random, so that workers do not run in step.
    jitter: float = 1 / 5
    #: Shortens the interval to this multiple of the lease.
    leases: float = float("inf")
    #: Seconds until the next try after an error; None for the interval.
    retry: float | None = None
    #: Whether the first run comes at once, or after an interval.
    at_start: bool = True
    #: Whether it also runs each time when the worker has nothing to do.
    when_idle: bool = False


def _declare(context: Context) -> MaintenanceReport:
    has_changed = context.firings.declare(context.worker_id)
    return MaintenanceReport(triggers=("fire",) if has_changed else ())


def _fire(context: Context) -> MaintenanceReport:
    jobs, due = context.firings.fire()
    next_in = None if due is None else min(FIRE_INTERVAL, max(0.0, due + CLOCK_MARGIN))
    return MaintenanceReport(ready=jobs, next_in=next_in)


def _promote(context: Context) -> MaintenanceReport:
    ready, expired, due = promote(context.storage, context.backend)
    # Longer than the interval between claims, which promote due jobs in passing.
    pause = context.poll_interval * 1.1
    return MaintenanceReport(ready=ready, expired=expired, next_in=pause if due is None else min(pause, due))


def _rescue(context: Context) -> MaintenanceReport:
    rescued = rescue(context.storage, context.backend, context.settings)
    count = len(rescued.states)
    next_in = NEXT_SLICE if count >= RESCUED_AT_ONCE else None
    return MaintenanceReport(
        ready=count,
        rescued=rescued.states,
        uncounted=rescued.uncounted,
        next_in=next_in,
        triggers=_AFTER_RETURN if count else (),
    )


def _release_orphans(context: Context) -> MaintenanceReport:
    released = release_orphans(context.storage, context.worker_id, context.held, context.settings)
    return MaintenanceReport(
        ready=len(released), released=released, triggers=_AFTER_RETURN if released else ()
    )


def _expire(context: Context) -> MaintenanceReport:
    expired = expire(context.storage, context.backend)
    return MaintenanceReport(expired=expired, next_in=0.0 if len(expired) >= EXPIRED_AT_ONCE else None)


def _prune(context: Context) -> MaintenanceReport:
    deleted = prune(context.storage, context.backend, context.settings)
    return MaintenanceReport(next_in=NEXT_SLICE if deleted >= SLICE else None)


def _report_unknown(context: Context) -> MaintenanceReport:
    names = report_unknown(context.storage, context.backend, context.known_tasks)
    return MaintenanceReport(next_in=WARN_AGAIN if names else None)


def _condense(context: Context) -> MaintenanceReport:
    has_more = condense(context.storage, context.backend)
    return MaintenanceReport(next_in=NEXT_SLICE if has_more else None)


def _forget(context: Context) -> MaintenanceReport:
    return MaintenanceReport(next_in=NEXT_SLICE if forget(context.storage) >= SLICE else None)


#: In the order in which entries run that are due together.
TABLE = (
    # Well within the time after which the schedules of a worker that has ended are retired.
    Entry("declare", 60.0, _declare, retry=1.0),
    Entry("fire", FIRE_INTERVAL, _fire, retry=1.0),
    Entry("promote", 1.0, _promote, jitter=0.0, when_idle=True),
    # Where leases are short, jobs of lost workers are to be found sooner.
    Entry("rescue", 15.0, _rescue, leases=1 / 4),
    # A lost reply to a claim makes this due at once, so that little is left to be found.
    Entry("orphans", 60.0, _release_orphans, leases=2.0),
    Entry("expire", 15.0, _expire),
    Entry("prune", 60.0, _prune, at_start=False),
    Entry("unknown_tasks", 60.0, _report_unknown, at_start=False),
    # Little happens to these in a minute: statistics, and rows that are kept for a day at least.
    Entry("condense", 600.0, _condense, at_start=False),
    Entry("forget", 600.0, _forget, at_start=False),
)
