"""What people want of a worker and its queues, and when it looks."""

from __future__ import annotations

import time
from uuid import UUID

from ..storage import ControlState, Storage

#: Seconds between two looks. Where hints come, they only make up for lost ones.
EVERY, EVERY_WITH_NOTIFICATIONS = 2.0, 10.0
#: Seconds between two looks however many hints come: anybody can send those.
AT_MOST_EVERY = 0.05


class WorkerControl:
    """The orders that stand. They are looked at before anything is claimed."""

    def __init__(self, storage: Storage, backend: str) -> None:
        self.storage = storage
        self.backend = backend
        self.current = ControlState()
        self._looked_at = self._look_at = float("-inf")
        self._notified = False

    def are_due(self, notified: bool) -> bool:
        """Whether to look now. A hint that comes too soon after a look is kept for later."""
        self._notified |= notified
        return not self.seconds_to_next

    def look(self, worker_id: UUID, *, hears: bool) -> bool:
        """Read them. Answers whether others stand now than before. Raises a database Error."""
        before, self.current = self.current, self.storage.control(self.backend, worker_id)
        self._notified, self._looked_at = False, time.monotonic()
        every = EVERY_WITH_NOTIFICATIONS if hears else EVERY
        # A pause may end by itself. A little later, so that it is over by the database's clock as well.
        self._look_at = self._looked_at + min(every, self.current.changes_in + 0.01)
        return before[:3] != self.current[:3]

    def forget(self) -> None:
        """They were given to a worker that is no more."""
        self._look_at = self._looked_at = float("-inf")

    @property
    def seconds_to_next(self) -> float:
        due = self._looked_at + AT_MOST_EVERY if self._notified else self._look_at
        return max(0.0, due - time.monotonic())
