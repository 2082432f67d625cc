"""When the worker looks after the table, and what it does then."""

from __future__ import annotations

import random
import time
from collections.abc import Container
from typing import NamedTuple
from uuid import UUID

from ..conf import Options
from ..maintenance.expire import expire
from ..maintenance.promote import promote
from ..maintenance.prune import SLICE, prune
from ..maintenance.rescue import rescue
from ..maintenance.strays import give_back_strays
from ..states import FINAL
from ..storage import Storage

#: Seconds between two rounds of each duty, less up to a fifth, so that workers do not march in step.
RESCUE, EXPIRE, PRUNE = 15.0, 15.0, 60.0


class Found(NamedTuple):
    """What a round of duties came upon."""

    #: Whether jobs became ready.
    ready: bool
    #: Jobs that reached their end without an attempt.
    ended: list[UUID]


class Duties:
    """The maintenance that every worker shares in; two at once do no harm."""

    def __init__(self, storage: Storage, backend: str, settings: Options) -> None:
        self.storage = storage
        self.backend = backend
        self.settings = settings
        # A dead worker's jobs are looked for more often where leases are short.
        self._rescue_every = min(RESCUE, settings.lease / 4)
        self._promote_at = self._rescue_at = self._expire_at = 0.0
        self._prune_at = time.monotonic() + PRUNE

    def perform(self, worker_id: UUID, known: Container[UUID], *, idle: bool) -> Found:
        """Do what is due. An idle worker looks for due jobs at once, a busy one every second.

        ``known`` are the jobs that the worker knows it has.
        """
        now = time.monotonic()
        ready, ended = 0, []
        # The next time is set before each duty: one that fails must not keep the worker from its jobs.
        if now >= self._promote_at or idle:
            self._promote_at = now + 1.0
            ready, due = promote(self.storage, self.backend)
            if due is not None:
                self._promote_at = now + min(1.0, due)
        if now >= self._rescue_at:
            self._rescue_at = now + _jittered(self._rescue_every)
            found = give_back_strays(self.storage, worker_id, known)
            found |= rescue(self.storage, self.backend, self.settings)
            ready += len(found)
            ended += [id for id, status in found.items() if status in FINAL]
        if now >= self._expire_at:
            self._expire_at = now + _jittered(EXPIRE)
            ended += expire(self.storage, self.backend)
        if now >= self._prune_at:
            self._prune_at = now + _jittered(PRUNE)
            # Slice by slice, so that claims come in between, until all that is old is gone.
            if prune(self.storage, self.backend, self.settings) >= SLICE:
                self._prune_at = now + 1.0
        return Found(bool(ready), ended)

    def look_for_strays(self) -> None:
        """At the next round: an answer may have been lost just now."""
        self._rescue_at = 0.0

    @property
    def seconds_to_next(self) -> float:
        due = min(self._promote_at, self._rescue_at, self._expire_at, self._prune_at)
        return max(0.0, due - time.monotonic())


def _jittered(seconds: float) -> float:
    return seconds * (1 - random.random() / 5)  # noqa: S311 - spreads load, hides nothing
