"""The claims of a worker: which jobs it claims, and when."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..events import Events, JobsClaimed
from ..failpoints import failpoint
from ..loggers import robust_logger
from ..storage import Claim, ClaimedJob, Storage
from ..storage.timestamps import boot_time
from .children.pool import Pool
from .config import WorkerConfig
from .control import WorkerControl
from .held_jobs import HeldJobs
from .lease import Lease
from .wakeup import Wakeup

logger = robust_logger("django_tasks_q.worker")

#: The most jobs claimed by one statement. Beyond 200 the planner takes the whole table for a shorter way.
BATCH = 200
#: Seconds for which other transactions must hold all that is left until a batch ends without it.
LOCKED_FOR = 5.0


class Fetcher:
    """Claims as many jobs as the children can start soon, and no more than the worker may."""

    def __init__(
        self,
        storage: Storage,
        config: WorkerConfig,
        lease: Lease,
        pool: Pool,
        held_jobs: HeldJobs,
        wakeup: Wakeup,
        control: WorkerControl,
        events: Events,
    ) -> None:
        self.storage = storage
        self.config = config
        #: The lease that jobs are claimed under.
        self.lease = lease
        self.pool = pool
        self.held_jobs = held_jobs
        self.wakeup = wakeup
        self.control = control
        self.events = events
        #: Jobs claimed so far, less those that were given back.
        self.total = 0
        self._drained = False
        self._limited_first = False
        #: When a claim last found a job, and when a notification last said that there are some.
        self._found_at = self._notified_at = 0.0
        self._claim_at = 0.0
        #: Since when a batch finds only jobs that other transactions hold; None if it finds others.
        self._locked_since: float | None = None

    # When

    @property
    def is_over(self) -> bool:
        """Whether this worker has claimed all that it is to claim in its life."""
        return not self._quota or (self.config.batch and self._drained)

    @property
    def can_claim(self) -> bool:
        """Whether the worker may claim, and has room."""
        return self.lease.may_claim and self._quota > 0 and self.pool.has_room

    @property
    def seconds_to_next(self) -> float:
        """Seconds until the next claim, if there is room then."""
        return max(0.0, self._claim_at - time.monotonic())

    def claim_soon(self) -> None:
        """Claim at the next opportunity."""
        self._claim_at = 0.0

    def _is_due(self, notified: bool) -> bool:
        if notified:
            self._notified_at = time.monotonic()
        return self.can_claim and (notified or not self.seconds_to_next)

    def _schedule_next(self, found: int, *, full: bool) -> None:
        """Set the time of the next claim, after one that found jobs; ``full`` if there may be more."""
        now = time.monotonic()
        if found:
            self._found_at = now
        if full:
            self._claim_at = 0.0
        else:
            # The longer no job has come, the less often.
            self._claim_at = now + self.wakeup.pause(now - self._found_at, now - self._notified_at)

    # What

    def claim(self, notified: bool) -> None:
        """Claim jobs if it is time to, or if a notification says that there are some."""
        if not self._is_due(notified):
            return
        claims = [self._claim_common]
        if self.limits:
            # By turns, so that neither can keep the other from the room there is.
            claims.insert(self._limited_first, self._claim_limited)
            self._limited_first = not self._limited_first
        found, full = 0, False
        for claim in claims:
            claimed, more = claim()
            found += claimed
            full |= more
        if self.config.batch and not found and not self.pool.held:
            # What is paused may stay so for ever. What is limited has its turn.
            # And jobs of which no child can be started may have to wait for another worker.
            terms = self._terms(self.pool.task_names, self.control.current.paused)
            self._drained = not self.storage.jobs.has_work(terms) or self._is_locked(terms)
        self._schedule_next(found, full=full)

    def _is_locked(self, terms: Claim) -> bool:
        """Return whether other transactions have held all jobs that are left for some time."""
        locked, now = self.storage.jobs.locked_work(terms), time.monotonic()
        if not locked:
            self._locked_since = None
            return False
        if self._locked_since is None:
            self._locked_since = now
        if now - self._locked_since < LOCKED_FOR:
            return False
        logger.warning(
            "This batch ends without %d jobs, since other transactions hold their rows: %s",
            len(locked),
            ", ".join(map(str, locked[:10])) + (", …" if len(locked) > 10 else ""),
        )
        return True

    def _claim_common(self) -> tuple[int, bool]:
        """Claim from all queues but those with a limit. Return how many jobs, and if there may be more."""
        names, limit = self._common_plan()
        if not limit:
            return 0, False
        found = self._claim(names, limit)
        full = found == limit
        if full and len(self.pool.groups) > 1:
            # What is left may be of any group, and another may have more room.
            full = False
            for names, room in self.pool.group_plans():
                if limit := min(room, BATCH, self._quota):
                    claimed = self._claim(names, limit)
                    found += claimed
                    full |= claimed == limit
        return found, full

    def _claim_limited(self) -> tuple[int, bool]:
        """Claim from each limited queue with room. Return how many jobs, and whether a claim was full."""
        found, full = 0, False
        limits = frozenset(self.limits)
        if not self._common_plan()[1]:
            return 0, False
        for queue in self.storage.queues.with_room(self.config.backend):
            names, limit = self._common_plan()
            if limit and queue in limits:
                failpoint("claim.sending")
                asked_at = boot_time()
                jobs = self.storage.jobs.claim_limited(self._terms(names), queue, limit)
                self._take(jobs, asked_at)
                found += len(jobs)
                full |= len(jobs) == limit
        return found, full

    def plan(self, notified: bool) -> tuple[Claim, int]:
        """Return a claim that travels with endings, and its limit, which is 0 if no claim is due."""
        if not self._is_due(notified):
            return self._terms([]), 0
        names, limit = self._common_plan()
        failpoint("claim.sending")
        return self._terms(names), limit

    def claimed(self, jobs: list[ClaimedJob], limit: int, asked_at: float) -> None:
        """Take the jobs of a plan that was sent with a limit, not before ``asked_at`` by ``boot_time()``."""
        self._take(jobs, asked_at)
        self._schedule_next(len(jobs), full=len(jobs) == limit)

    def given_back(self, count: int) -> None:
        """Count jobs that were given back: they are not among those that the worker may claim in its life."""
        self.total -= count

    def forget(self) -> None:
        """Drop the jobs that the worker holds, which belong to other workers."""
        self.total -= len(self.held_jobs)
        self.held_jobs.clear()

    def _claim(self, names: list[str], limit: int) -> int:
        failpoint("claim.sending")
        asked_at = boot_time()
        jobs = self.storage.jobs.claim(self._terms(names), limit)
        self._take(jobs, asked_at)
        return len(jobs)

    def _take(self, jobs: list[ClaimedJob], asked_at: float) -> None:
        failpoint("claim.committed")
        if jobs:
            self.pool.clock.set(max(job.last_attempted_at for job in jobs), asked_at)
        self.total += len(jobs)
        self.held_jobs.add(jobs)
        self.events.publish(JobsClaimed(jobs))
        self.pool.add(jobs)

    def _common_plan(self) -> tuple[list[str], int]:
        names, room = self.pool.common_plan()
        return names, min(room, BATCH, self._quota)

    @property
    def _quota(self) -> int:
        """How many more jobs this worker may claim in its life."""
        return BATCH if self.config.max_jobs is None else max(0, self.config.max_jobs - self.total)

    @property
    def limits(self) -> list[str]:
        """The queues of this worker of which only so many jobs may run at a time."""
        if not (limited := self.control.current.limited):
            return []
        return sorted(filter(self.config.serves, limited))

    def _terms(self, names: list[str], closed: Collection[str] | None = None) -> Claim:
        """Return a claim from all queues of the worker, but those that are paused or limited."""
        if closed is None:
            control = self.control.current
            closed = control.paused.union(control.limited)
        return Claim(
            worker_id=self.lease.id,
            backend=self.config.backend,
            task_names=names,
            queues=self.config.queues,
            # Without pauses and limits it is always the same, for which there are shorter statements.
            exclude_queues=(*self.config.exclude_queues, *sorted(closed)),
        )
