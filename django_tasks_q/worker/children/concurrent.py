"""The supervisor's end of the pipe to a child that runs several jobs at a time.

Such a child cannot be killed for one of its jobs without harm to the others. So an attempt that outlives its
timeout is given up: it is recorded as ended, the fence keeps it from writing, and the child exits when its
other jobs are done. Only a child that does not reply any more is killed at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from ...execution import endings
from ...lifecycle.outcome import Outcome
from ...storage import ClaimedJob
from ..executor_groups import Group
from . import protocol
from .fork_server import Pipes
from .parent_side import HOOK_TIMEOUT, START_TIMEOUT, ParentSide

#: Seconds that a child may take to reply to a ping.
RESPONSE_TIMEOUT = 2.0


@dataclass
class Slot:
    """A job that the child was sent."""

    job: ClaimedJob
    sent_at: float
    began_at: float | None = None
    cancelled_at: float | None = None

    def begins(self) -> None:
        """Its code begins."""
        self.began_at = time.monotonic()

    def cancel(self) -> bool:
        """Note that it is cancelled. Return False if it was before."""
        if self.cancelled_at is not None:
            return False
        self.cancelled_at = time.monotonic()
        return True


class ConcurrentParentSide(ParentSide):
    """The supervisor's end of the pipe to a thread or async child."""

    #: Whether code that ignores its cancellation is given up after the grace period.
    gives_up_cancelled = False

    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        super().__init__(key, group, pipes)
        self.slots: dict[UUID, Slot] = {}
        #: When the child was sent a ping that it has not replied to.
        self.asked_at: float | None = None
        #: When it last replied.
        self.alive_at = 0.0
        #: The job because of which it was sent a ping.
        self.suspect: UUID | None = None

    @property
    def held(self) -> int:
        return len(self.slots)

    def room(self, now: float) -> int:
        if not self.accepts or self.channel.has_unsent:
            return 0
        return self.limited(self.group.capacity - len(self.slots))

    def send(self, jobs: list[ClaimedJob]) -> None:
        now = time.monotonic()
        for job in jobs:
            self.slots[job.id] = Slot(job, now)
        self.send_frame(jobs)

    def started(self, job_id: UUID) -> None:
        if (slot := self.slots.get(job_id)) is not None:
            slot.begins()

    def remove(self, outcome: Outcome) -> bool:
        slot = self.slots.get(outcome.job_id)
        if slot is None or slot.job.fence != outcome.fence:
            return False
        del self.slots[outcome.job_id]
        return True

    def forget(self) -> None:
        self.slots.clear()

    def cancel(self, job_id: UUID) -> bool:
        slot = self.slots.get(job_id)
        if slot is None:
            return False
        if slot.cancel():
            self.channel.send(protocol.CANCEL, job_id.bytes)
        return True

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
            self.suspect = min(overdue, key=lambda slot: self._due(slot, now)).job.id
            self.channel.send(protocol.PING)
            return []
        outcomes = [self._given_up(self.slots.pop(slot.job.id), now) for slot in overdue]
        if outcomes:
            self.retire()
        return outcomes

    def _overdue(self, now: float) -> Iterator[Slot]:
        return (slot for slot in self.slots.values() if self._due(slot, now) <= 0)

    def _due(self, slot: Slot, now: float) -> float:
        """Return the seconds until a job is given up."""
        grace, job = self.group.settings.grace, slot.job
        due = float("inf")
        if slot.cancelled_at is not None and self.gives_up_cancelled:
            due = slot.cancelled_at + grace - now
        if slot.began_at is None:
            return min(due, slot.sent_at + START_TIMEOUT - now)
        if job.timeout is not None:
            due = min(due, slot.began_at + job.timeout + grace - now)
        return due

    def _given_up(self, slot: Slot, now: float) -> Outcome:
        job, settings = slot.job, self.group.settings
        if slot.began_at is None:
            return self.not_started(job)
        duration = now - slot.began_at
        if job.timeout is not None and duration > job.timeout:
            return endings.by_timeout(job, settings, duration)
        return endings.by_cancellation(job, settings, duration)

    def jobs_due(self, now: float) -> float:
        if self.asked_at is not None:
            return RESPONSE_TIMEOUT - (now - self.asked_at)
        due = min((self._due(slot, now) for slot in self.slots.values()), default=float("inf"))
        if self.unsent and not self.is_retiring:
            due = min(due, HOOK_TIMEOUT - (now - self.sending_since))
        return due

    def end_attempts(self, status: int) -> list[Outcome]:
        now = time.monotonic()
        outcomes = []
        # User code that had begun is the cause of the exit, and not a job that only waited.
        has_begun = any(slot.began_at is not None for slot in self.slots.values())
        for slot in self.slots.values():
            job = slot.job
            duration = None if slot.began_at is None else now - slot.began_at
            if self.kill_reason == "stuck" and job.id == self.suspect:
                outcome = self._given_up(slot, now)
            elif self.kill_reason in ("stuck", "release"):
                outcome = endings.by_stop(job, duration, has_begun=slot.began_at is not None)
            elif has_begun and slot.began_at is None:
                outcome = Outcome.released(job.id, job.fence)
            else:
                outcome = self.crashed(job, status, duration, has_begun=has_begun)
            outcomes.append(outcome)
        self.slots.clear()
        return outcomes
