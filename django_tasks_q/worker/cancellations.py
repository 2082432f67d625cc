"""When a worker looks whether somebody wants one of its jobs to end."""

from __future__ import annotations

import time
from uuid import UUID

from ..storage import Storage

#: Seconds between two looks. Where hints come, they only make up for lost ones.
EVERY, EVERY_WITH_NOTIFICATIONS = 1.0, 10.0
#: Seconds between two looks however many hints come: anybody can send those.
AT_MOST_EVERY = 0.05


class Cancellations:
    """Looks are rare, and only made by a worker that has jobs."""

    def __init__(self, storage: Storage, *, listens: bool) -> None:
        self.storage = storage
        self._every = EVERY_WITH_NOTIFICATIONS if listens and storage.sends_notifications else EVERY
        self._looked_at = 0.0
        self._notified = False

    def are_due(self, notified: bool, held: int) -> bool:
        """Whether to look now. A hint that comes too soon after a look is kept for later."""
        self._notified |= notified
        return bool(held) and not self.seconds_to_next

    def look(self, worker_id: UUID) -> set[UUID]:
        """The jobs of this worker that are to end, the ones known from earlier looks included."""
        self._looked_at = time.monotonic()
        self._notified = False
        return self.storage.cancelling(worker_id)

    @property
    def seconds_to_next(self) -> float:
        pause = AT_MOST_EVERY if self._notified else self._every
        return max(0.0, self._looked_at + pause - time.monotonic())
