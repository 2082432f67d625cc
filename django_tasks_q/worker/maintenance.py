"""When the worker looks after the table, and what it does then."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Container
from typing import NamedTuple
from uuid import UUID

from ..backends import DatabaseBackend
from ..lifecycle.states import FINAL, JobStatus
from ..maintenance.expire import BATCH as EXPIRED_AT_ONCE
from ..maintenance.expire import expire
from ..maintenance.orphans import release_orphans
from ..maintenance.promote import promote
from ..maintenance.prune import SLICE, forget, prune
from ..maintenance.rescue import BATCH, rescue
from ..maintenance.statistics import condense
from ..maintenance.unknown_tasks import report_unknown
from ..scheduling.fire import Firings
from ..storage import Storage

#: Seconds between two rounds of each duty, less up to a fifth, so that workers do not march in step.
RESCUE, EXPIRE, PRUNE, REPORT = 15.0, 15.0, 60.0, 60.0
#: The same where a lost answer has the worker look at once, so that little is left to be found.
ORPHANS = 60.0
#: The same for what little happens to in a minute: statistics, and rows that are kept for a day at least.
CONDENSE, FORGET = 600.0, 600.0
#: Seconds between two looks for schedules, where nothing has been heard of one that is due before.
SCHEDULES = 300.0
#: Seconds between two declarations of the schedules of the code: well within the time after which those of a
#: worker that has ended are retired.
DECLARE = 60.0
#: Seconds before another try, where the database had something against the first.
FIRE_AGAIN = 1.0
#: Seconds between two slices of a prune.
NEXT_SLICE = 0.1
#: Seconds between two mentions of the same unknown tasks.
SAY_AGAIN = 3600.0


class Found(NamedTuple):
    """What a round of duties came upon."""

    #: Whether jobs became ready.
    ready: bool
    #: Jobs that reached their end without an attempt.
    ended: list[UUID]
    #: Those among them that have expired, and what has become of other workers' jobs.
    expired: list[UUID]
    rescued: dict[UUID, JobStatus]


class Maintenance:
    """The maintenance that every worker shares in; two at once do no harm."""

    def __init__(self, storage: Storage, backend: DatabaseBackend, known_tasks: Collection[str]) -> None:
        self.storage = storage
        self.backend = backend.alias
        self.settings = settings = backend.settings
        self.known_tasks = known_tasks
        self.firings = Firings(storage, backend)
        self._declared_by: UUID | None = None
        self._declare_at = 0.0
        #: Kept until they are answered: a later duty may fail first.
        self._ended: list[UUID] = []
        self._expired: list[UUID] = []
        self._rescued: dict[UUID, JobStatus] = {}
        # Jobs in nobody's hands are looked for more often where leases are short.
        self._rescue_every = min(RESCUE, settings.lease / 4)
        self._orphans_every = min(ORPHANS, settings.lease * 2)
        self._promote_at = self._rescue_at = self._orphans_at = self._expire_at = self._fire_at = 0.0
        self._prune_at = self._report_at = time.monotonic() + PRUNE
        self._condense_at = time.monotonic() + _jittered(CONDENSE)
        self._forget_at = time.monotonic() + _jittered(FORGET)

    def perform(
        self, worker_id: UUID, known: Container[tuple[UUID, int]], *, idle: bool, pause: float = 1.0
    ) -> Found:
        """Do what is due. Due jobs are looked for every ``pause`` seconds at least, and when idle at once.

        ``known`` are the attempts that the worker knows it has, each by job and fence.
        """
        now = time.monotonic()
        ready = 0
        # The next time is set before each duty: one that fails must not keep the worker from its jobs.
        if self._declared_by != worker_id:
            self._declared_by, self._declare_at = worker_id, now
        if now >= self._declare_at:
            self._declare(now, worker_id)
        if now >= self._fire_at:
            ready += self._fire(now)
        if now >= self._promote_at or idle:
            ready += self._promote(now, pause)
        if now >= self._rescue_at:
            ready += self._rescue(now)
        if now >= self._orphans_at:
            self._orphans_at = now + _jittered(self._orphans_every)
            ready += self._given_back(release_orphans(self.storage, worker_id, known))
        if now >= self._expire_at:
            self._expire(now)
        self._tidy(now)
        done = Found(bool(ready), self._ended, self._expired, self._rescued)
        self._ended, self._expired, self._rescued = [], [], {}
        return done

    def _promote(self, now: float, pause: float) -> int:
        """Make due jobs ready. Answers how many."""
        # A little more, so that a look for jobs comes first and does it in passing.
        pause *= 1.1
        self._promote_at = now + pause
        promoted, due = promote(self.storage, self.backend)
        if due is not None:
            self._promote_at = now + max(0.0, min(pause, due))
        return promoted

    def _rescue(self, now: float) -> int:
        """Take jobs from workers that are gone. Answers how many are ready again."""
        self._rescue_at = now + _jittered(self._rescue_every)
        rescued = rescue(self.storage, self.backend, self.settings)
        self._rescued |= rescued
        if len(rescued) >= BATCH:
            # There may be more; claims come in between, and other workers may be at it too.
            self._rescue_at = now + _jittered(0.1)
        return self._given_back(rescued)

    def _expire(self, now: float) -> None:
        self._expire_at = now + _jittered(EXPIRE)
        expired = expire(self.storage, self.backend)
        self._ended += expired
        self._expired += expired
        if len(expired) >= EXPIRED_AT_ONCE:
            self._expire_at = now

    def _tidy(self, now: float) -> None:
        """Do what makes no job ready and ends none: delete, report, condense."""
        if now >= self._prune_at:
            self._prune_at = now + _jittered(PRUNE)
            # Slice by slice, so that claims come in between, until all that is old is gone.
            if prune(self.storage, self.backend, self.settings) >= SLICE:
                self._prune_at = now + NEXT_SLICE
        if now >= self._report_at:
            self._report_at = now + _jittered(REPORT)
            if report_unknown(self.storage, self.backend, self.known_tasks):
                self._report_at = now + SAY_AGAIN
        if now >= self._condense_at:
            self._condense_at = now + _jittered(CONDENSE)
            if condense(self.storage, self.backend):
                self._condense_at = now + NEXT_SLICE
        if now >= self._forget_at:
            self._forget_at = now + _jittered(FORGET)
            if forget(self.storage) >= SLICE:
                self._forget_at = now + NEXT_SLICE

    def _declare(self, now: float, worker_id: UUID) -> None:
        self._declare_at = now + FIRE_AGAIN
        if self.firings.declare(worker_id):
            self._fire_at = now
        self._declare_at = now + _jittered(DECLARE)

    def _fire(self, now: float) -> int:
        """Fire the schedules that are due. Answers how many jobs came of it."""
        self._fire_at = now + FIRE_AGAIN
        jobs, due = self.firings.fire()
        self._fire_at = now + _jittered(SCHEDULES)
        if due is not None:
            self.fires_in(due)
        return jobs

    def fires_in(self, seconds: float) -> None:
        """A schedule is due then. A little later it is by the database's clock as well."""
        self._fire_at = min(self._fire_at, time.monotonic() + max(0.0, seconds + 0.002))

    def _given_back(self, found: dict[UUID, JobStatus]) -> int:
        """Take note of those that have ended with it. Answers how many there are."""
        self._ended += [id for id, status in found.items() if status in FINAL]
        return len(found)

    def find_orphans(self) -> None:
        """At the next round: an answer may have been lost just now."""
        self._orphans_at = 0.0

    @property
    def seconds_to_next(self) -> float:
        due = min(
            self._declare_at,
            self._fire_at,
            self._promote_at,
            self._rescue_at,
            self._orphans_at,
            self._expire_at,
            self._prune_at,
            self._report_at,
            self._condense_at,
            self._forget_at,
        )
        return max(0.0, due - time.monotonic())


def _jittered(seconds: float) -> float:
    return seconds * (1 - random.random() / 5)  # noqa: S311 - spreads load, hides nothing
