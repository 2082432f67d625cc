"""What a worker claims, and when it looks for it."""

from __future__ import annotations

import time
from collections.abc import Collection

from ..failpoints import failpoint
from ..storage import Claim, ClaimedJob, Storage
from ..storage.timestamps import boot_time
from .children.pool import Pool
from .config import WorkerConfig
from .control import WorkerControl
from .held_jobs import Holdings
from .lease import Lease
from .subscribers.metrics import Metrics
from .wakeup import Wakeup

#: Most jobs claimed by one statement. Beyond 200 the planner takes the whole table for a shorter way.
BATCH = 200


class Fetcher:
    """Claims as much as the children will soon get round to, and no more than the worker may."""

    def __init__(
        self,
        storage: Storage,
        config: WorkerConfig,
        lease: Lease,
        pool: Pool,
        wakeup: Wakeup,
        control: WorkerControl,
        metrics: Metrics,
    ) -> None:
        self.storage = storage
        self.config = config
        #: The one that jobs are claimed under.
        self.lease = lease
        self.pool = pool
        self.wakeup = wakeup
        self.control = control
        self.metrics = metrics
        self.holdings = Holdings()
        #: Jobs claimed so far, less those that were given back.
        self.taken = 0
        self._drained = False
        self._limited_first = False
        #: When there last was something to claim, and when somebody last said so.
        self._found_at = self._notified_at = 0.0
        self._look_at = 0.0

    # When

    @property
    def is_over(self) -> bool:
        """Whether this worker has claimed all that it is to claim in its life."""
        return not self._quota or (self.config.batch and self._drained)

    @property
    def can_claim(self) -> bool:
        return self.lease.may_claim and self._quota > 0 and self.pool.has_room

    @property
    def seconds_to_next(self) -> float:
        """Seconds until the next look for jobs, if there is room for any."""
        return max(0.0, self._look_at - time.monotonic())

    def look_soon(self) -> None:
        """Something has changed: look at the next opportunity."""
        self._look_at = 0.0

    def _is_due(self, notified: bool) -> bool:
        if notified:
            self._notified_at = time.monotonic()
        return self.can_claim and (notified or not self.seconds_to_next)

    def _look_again(self, found: int, *, full: bool) -> None:
        """Settle when to look for jobs the next time."""
        now = time.monotonic()
        if found:
            self._found_at = now
        if full:
            self._look_at = 0.0
        else:
            # The longer nothing has come, the less often.
            self._look_at = now + self.wakeup.pause(now - self._found_at, now - self._notified_at)

    # What

    def look(self, notified: bool) -> None:
        """Claim jobs, if it is time to."""
        if not self._is_due(notified):
            return
        looks = [self._look_at_all]
        if self.limits:
            # By turns, so that neither can keep the other from the room there is.
            looks.insert(self._limited_first, self._look_at_limited)
            self._limited_first = not self._limited_first
        found, full = 0, False
        for look in looks:
            claimed, more = look()
            found += claimed
            full |= more
        if self.config.batch and not found and not self.pool.held:
            # What is paused may stay so for ever. What is limited has its turn.
            # And what no child can be had for may have to wait for another worker.
            terms = self._terms(self.pool.task_names, self.control.current.paused)
            self._drained = not self.storage.has_work(terms)
        self._look_again(found, full=full)

    def _look_at_all(self) -> tuple[int, bool]:
        """Claim from all queues but those with a limit. Answers how many jobs, and if there may be more."""
        names, limit = self._common_wish()
        if not limit:
            return 0, False
        found = self._claim(names, limit)
        full = found == limit
        if full and len(self.pool.groups) > 1:
            # What is left may be of any group, and another may have more room.
            full = False
            for names, room in self.pool.wishes():
                if limit := min(room, BATCH, self._quota):
                    claimed = self._claim(names, limit)
                    found += claimed
                    full |= claimed == limit
        return found, full

    def _look_at_limited(self) -> tuple[int, bool]:
        """The same for each queue with a limit."""
        found, full = 0, False
        for queue in self.limits:
            names, limit = self._common_wish()
            if limit:
                failpoint("claim.sending")
                asked_at = boot_time()
                jobs = self.storage.claim_limited(self._terms(names), queue, limit)
                self._took(jobs, asked_at)
                found += len(jobs)
                full |= len(jobs) == limit
        return found, full

    def wish(self, notified: bool) -> tuple[Claim, int]:
        """A claim to be sent along with endings, and its limit, which is 0 if it is not time to claim."""
        if not self._is_due(notified):
            return self._terms([]), 0
        names, limit = self._common_wish()
        failpoint("claim.sending")
        return self._terms(names), limit

    def granted(self, jobs: list[ClaimedJob], limit: int, asked_at: float) -> None:
        """The wish was sent, not before ``asked_at``, and these are the jobs that were claimed."""
        self._took(jobs, asked_at)
        self._look_again(len(jobs), full=len(jobs) == limit)

    def forget(self) -> None:
        """The jobs that the worker has are others' now."""
        self.taken -= len(self.holdings)
        self.holdings.clear()

    def _claim(self, names: list[str], limit: int) -> int:
        failpoint("claim.sending")
        asked_at = boot_time()
        jobs = self.storage.claim(self._terms(names), limit)
        self._took(jobs, asked_at)
        return len(jobs)

    def _took(self, jobs: list[ClaimedJob], asked_at: float) -> None:
        failpoint("claim.committed")
        if jobs:
            self.pool.clock.set(max(job.last_attempted_at for job in jobs), asked_at)
        self.taken += len(jobs)
        self.holdings.take(jobs)
        self.metrics.claimed(jobs)
        self.pool.add(jobs)

    def _common_wish(self) -> tuple[list[str], int]:
        names, room = self.pool.common_wish()
        return names, min(room, BATCH, self._quota)

    @property
    def _quota(self) -> int:
        """How many more jobs this worker may claim in its life."""
        return BATCH if self.config.max_jobs is None else max(0, self.config.max_jobs - self.taken)

    @property
    def limits(self) -> list[str]:
        """The queues of this worker of which only so many jobs may run at a time."""
        if not (limited := self.control.current.limited):
            return []
        return sorted(
            queue
            for queue in limited
            if queue not in self.config.exclude_queues
            and (not self.config.queues or queue in self.config.queues)
        )

    def _terms(self, names: list[str], closed: Collection[str] | None = None) -> Claim:
        """A claim of jobs from all queues of the worker, but those that are paused or limited."""
        if closed is None:
            control = self.control.current
            closed = control.paused.union(control.limited)
        return Claim(
            worker_id=self.lease.id,
            backend=self.config.backend,
            task_names=names,
            queues=self.config.queues,
            # Without orders the very same as ever, for which there are shorter statements.
            exclude_queues=(*self.config.exclude_queues, *sorted(closed)),
        )
