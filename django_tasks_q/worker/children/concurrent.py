"""The supervisor's end of the pipe to a child that runs several jobs at a time.

Such a child cannot be killed for one of its jobs without harm to the others. So an attempt that outlives its
timeout is given up: it is recorded as ended, the fence keeps it from writing, and the child exits when its
other jobs are done. Only a child that does not reply any more is killed at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

from ...execution import endings
from ...lifecycle.outcome import Outcome
from ...storage import ClaimedJob
from ..executor_groups import Group
from . import protocol
from .fork_server import Pipes
from .handover import Offer
from .parent_side import HOOK_TIMEOUT, START_TIMEOUT, ParentSide

#: Seconds that a child may take to reply to a ping.
RESPONSE_TIMEOUT = 2.0


class ConcurrentParentSide(ParentSide):
    """The supervisor's end of the pipe to a thread or async child."""

    #: Whether code that ignores its cancellation is given up after the grace period.
    gives_up_cancelled = False

    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        super().__init__(key, group, pipes)
        #: When the child was sent a ping that it has not replied to.
        self.asked_at: float | None = None
        #: When it last replied.
        self.alive_at = 0.0
        #: The job because of which it was sent a ping.
        self.suspect: UUID | None = None

    def room(self, now: float) -> int:
        if not self.accepts or self.channel.has_unsent:
            return 0
        return self.limited(self.group.capacity - self.held)

    def send(self, jobs: list[ClaimedJob]) -> None:
        first, _ = self.handover.offer(jobs, time.monotonic())
        self.send_frame(jobs, first)

    def cancel(self, job_id: UUID) -> bool:
        if (offer := self.handover.cancel(job_id, time.monotonic())) is not None:
            self.channel.send(protocol.CANCEL, protocol.pack_attempt(job_id, offer.job.fence))
        return self.handover.holds(job_id)

    # Deadlines

    def responded(self) -> None:
        self.asked_at, self.alive_at = None, time.monotonic()

    def enforce_jobs(self, now: float) -> list[Outcome]:
        if self._hangs_sending(now):
            self.retire()
        if self.asked_at is not None:
            if now - self.asked_at > RESPONSE_TIMEOUT:
                self.kill("stuck")
            return []
        overdue = list(self._overdue(now))
        if overdue and now - self.alive_at > RESPONSE_TIMEOUT:
            # A job that holds up the whole child must not make its siblings look late.
            self.asked_at = now
            self.suspect = min(overdue, key=lambda offer: self._due(offer, now)).job.id
            self.channel.send(protocol.PING)
            return []
        self.handover.remove(overdue)
        if overdue:
            self.retire()
        return [self._given_up(offer, now) for offer in overdue]

    def _overdue(self, now: float) -> Iterator[Offer]:
        return (offer for offer in self.handover if self._due(offer, now) <= 0)

    def _due(self, offer: Offer, now: float) -> float:
        """Return the seconds until a job is given up."""
        grace, job = self.group.settings.grace, offer.job
        due = float("inf")
        if offer.cancelled_at is not None and self.gives_up_cancelled:
            due = offer.cancelled_at + grace - now
        if offer.begun_at is None:
            return min(due, offer.offered_at + START_TIMEOUT - now)
        if job.timeout is not None:
            due = min(due, offer.begun_at + job.timeout + grace - now)
        return due

    def _given_up(self, offer: Offer, now: float) -> Outcome:
        job, settings = offer.job, self.group.settings
        if offer.begun_at is None:
            return self.not_started(job)
        duration = now - offer.begun_at
        if job.timeout is not None and duration > job.timeout:
            return endings.by_timeout(job, settings, duration)
        return endings.by_cancellation(job, settings, duration)

    def jobs_due(self, now: float) -> float:
        if self.asked_at is not None:
            return RESPONSE_TIMEOUT - (now - self.asked_at)
        due = min((self._due(offer, now) for offer in self.handover), default=float("inf"))
        if self.unsent and not self.is_retiring:
            due = min(due, HOOK_TIMEOUT - (now - self.sending_since))
        return due

    def end_attempts(self, status: int) -> list[Outcome]:
        now = time.monotonic()
        offers = self.handover.clear()
        # User code that had begun is the cause of the exit, and not a job that only waited.
        has_begun = any(offer.begun_at is not None for offer in offers)
        return [self._interrupted(offer, status, now, has_begun=has_begun) for offer in offers]

    def _interrupted(self, offer: Offer, status: int, now: float, *, has_begun: bool) -> Outcome:
        """Return the outcome of a job of a child that has exited. ``has_begun`` says that some job had."""
        job, is_begun = offer.job, offer.begun_at is not None
        duration = None if offer.begun_at is None else now - offer.begun_at
        if self.kill_reason == "stuck" and job.id == self.suspect:
            return self._given_up(offer, now)
        if self.kill_reason == "worker":
            return endings.by_end_of_worker(job, self.group.settings, duration, has_begun=is_begun)
        if self.kill_reason in ("stuck", "release"):
            return endings.by_stop(job, duration, has_begun=is_begun)
        if has_begun and not is_begun:
            return Outcome.released(job.id, job.fence)
        return self.crashed(job, status, duration, has_begun=has_begun)
