"""When the worker looks after the table, and what it does then."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Container
from typing import NamedTuple
from uuid import UUID

from ..conf import Options
from ..maintenance.expire import BATCH as EXPIRED_AT_ONCE
from ..maintenance.expire import expire
from ..maintenance.promote import promote
from ..maintenance.prune import SLICE, prune
from ..maintenance.rescue import BATCH, rescue
from ..maintenance.statistics import condense
from ..maintenance.strays import give_back_strays
from ..maintenance.unknown import report_unknown
from ..states import FINAL, JobStatus
from ..storage import Storage

#: Seconds between two rounds of each duty, less up to a fifth, so that workers do not march in step.
RESCUE, EXPIRE, PRUNE, REPORT = 15.0, 15.0, 60.0, 60.0
#: The same for statistics, of which little happens in a minute.
CONDENSE = 600.0
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


class Duties:
    """The maintenance that every worker shares in; two at once do no harm."""

    def __init__(
        self, storage: Storage, backend: str, settings: Options, known_tasks: Collection[str]
    ) -> None:
        self.storage = storage
        self.backend = backend
        self.settings = settings
        self.known_tasks = known_tasks
        #: Kept until they are answered: a later duty may fail first.
        self._ended: list[UUID] = []
        self._expired: list[UUID] = []
        self._rescued: dict[UUID, JobStatus] = {}
        # A dead worker's jobs are looked for more often where leases are short.
        self._rescue_every = min(RESCUE, settings.lease / 4)
        self._promote_at = self._rescue_at = self._expire_at = 0.0
        self._prune_at = self._report_at = time.monotonic() + PRUNE
        self._condense_at = time.monotonic() + _jittered(CONDENSE)

    def perform(self, worker_id: UUID, known: Container[UUID], *, idle: bool, pause: float = 1.0) -> Found:
        """Do what is due. Due jobs are looked for every ``pause`` seconds at least, and when idle at once.

        ``known`` are the jobs that the worker knows it has.
        """
        now = time.monotonic()
        ready = 0
        # The next time is set before each duty: one that fails must not keep the worker from its jobs.
        if now >= self._promote_at or idle:
            # A little more, so that a look for jobs comes first and does it in passing.
            pause *= 1.1
            self._promote_at = now + pause
            ready, due = promote(self.storage, self.backend)
            if due is not None:
                self._promote_at = now + max(0.0, min(pause, due))
        if now >= self._rescue_at:
            self._rescue_at = now + _jittered(self._rescue_every)
            found = give_back_strays(self.storage, worker_id, known)
            rescued = rescue(self.storage, self.backend, self.settings)
            self._rescued |= rescued
            found |= rescued
            if len(found) >= BATCH:
                # There may be more; claims come in between, and other workers may be at it too.
                self._rescue_at = now + _jittered(0.1)
            ready += len(found)
            self._ended += [id for id, status in found.items() if status in FINAL]
        if now >= self._expire_at:
            self._expire_at = now + _jittered(EXPIRE)
            expired = expire(self.storage, self.backend)
            self._ended += expired
            self._expired += expired
            if len(expired) >= EXPIRED_AT_ONCE:
                self._expire_at = now
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
        done = Found(bool(ready), self._ended, self._expired, self._rescued)
        self._ended, self._expired, self._rescued = [], [], {}
        return done

    def look_for_strays(self) -> None:
        """At the next round: an answer may have been lost just now."""
        self._rescue_at = 0.0

    @property
    def seconds_to_next(self) -> float:
        due = min(
            self._promote_at,
            self._rescue_at,
            self._expire_at,
            self._prune_at,
            self._report_at,
            self._condense_at,
        )
        return max(0.0, due - time.monotonic())


def _jittered(seconds: float) -> float:
    return seconds * (1 - random.random() / 5)  # noqa: S311 - spreads load, hides nothing
