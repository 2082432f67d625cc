"""When the worker looks after the table, and what it does then."""

from __future__ import annotations

import random
import time

from ..conf import Options
from ..maintenance.promote import promote
from ..maintenance.prune import SLICE, prune
from ..maintenance.rescue import rescue
from ..storage import Storage

#: Seconds between two rounds of each duty, less up to a fifth, so that workers do not march in step.
RESCUE, PRUNE = 15.0, 60.0


class Duties:
    """The maintenance that every worker shares in; two at once do no harm."""

    def __init__(self, storage: Storage, backend: str, settings: Options) -> None:
        self.storage = storage
        self.backend = backend
        self.settings = settings
        # A dead worker's jobs are looked for more often where leases are short.
        self._rescue_every = min(RESCUE, settings.lease / 4)
        self._promote_at = self._rescue_at = 0.0
        self._prune_at = time.monotonic() + PRUNE

    def perform(self, *, idle: bool) -> bool:
        """Do what is due. An idle worker looks for due jobs at once, a busy one every second.

        Answers whether jobs became ready.
        """
        now = time.monotonic()
        found = 0
        if now >= self._promote_at or idle:
            found, due = promote(self.storage, self.backend)
            self._promote_at = now + (1.0 if due is None else min(1.0, due))
        if now >= self._rescue_at:
            found += rescue(self.storage, self.backend, self.settings.max_crashes)
            self._rescue_at = now + _jittered(self._rescue_every)
        if now >= self._prune_at:
            deleted = prune(self.storage, self.backend, self.settings)
            # Slice by slice, so that claims come in between, until all that is old is gone.
            self._prune_at = now + (1.0 if deleted >= SLICE else _jittered(PRUNE))
        return bool(found)

    @property
    def seconds_to_next(self) -> float:
        return max(0.0, min(self._promote_at, self._rescue_at, self._prune_at) - time.monotonic())


def _jittered(seconds: float) -> float:
    return seconds * (1 - random.random() / 5)  # noqa: S311 - spreads load, hides nothing
