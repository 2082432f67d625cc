"""The queries for running jobs of a worker that are to be cancelled, and when they are made."""

from __future__ import annotations

import time
from uuid import UUID

from ..storage import Storage

#: Seconds between two queries. Where notifications arrive, queries only make up for lost ones.
EVERY, EVERY_WITH_NOTIFICATIONS = 1.0, 10.0
#: Seconds between two queries however many notifications arrive: any client can send those.
AT_MOST_EVERY = 0.05


class Cancellations:
    """Queries are rare, and only made while the worker holds jobs."""

    def __init__(self, storage: Storage, *, listens: bool) -> None:
        self.storage = storage
        self._every = EVERY_WITH_NOTIFICATIONS if listens and storage.session.sends_notifications else EVERY
        self._queried_at = 0.0
        self._notified = False

    def are_due(self, notified: bool, held: int) -> bool:
        """Return whether to query now. A notification that comes too soon after a query is kept for later."""
        self._notified |= notified
        return bool(held) and not self.seconds_to_next

    def query(self, worker_id: UUID) -> set[UUID]:
        """Return the jobs of the worker that are to end, including those of earlier queries."""
        self._queried_at = time.monotonic()
        self._notified = False
        return self.storage.jobs.cancelling(worker_id)

    @property
    def seconds_to_next(self) -> float:
        """Seconds until the next query."""
        pause = AT_MOST_EVERY if self._notified else self._every
        return max(0.0, self._queried_at + pause - time.monotonic())
