"""The control state of a worker (stop, paused queues, limits), and when it is queried."""

from __future__ import annotations

import time
from uuid import UUID

from ..storage import ControlState, Storage

#: Seconds between two queries. Where notifications arrive, queries only make up for lost ones.
EVERY, EVERY_WITH_NOTIFICATIONS = 2.0, 10.0
#: Seconds between two queries however many notifications arrive: any client can send those.
AT_MOST_EVERY = 0.05


class WorkerControl:
    """The control state. It is queried before anything is claimed."""

    def __init__(self, storage: Storage, backend: str) -> None:
        self.storage = storage
        self.backend = backend
        self.current = ControlState()
        self._queried_at = self._query_at = float("-inf")
        self._notified = False
        #: The id under which this worker may have been asked to stop before it lost its lease.
        self._lost_id: UUID | None = None

    def is_due(self, notified: bool) -> bool:
        """Return whether to query now. A notification that comes too soon after a query is kept for later."""
        self._notified |= notified
        return not self.seconds_to_next

    def query(self, worker_id: UUID, *, is_notified: bool) -> bool:
        """Query the state, and return whether it has changed. Raises a database Error.

        ``is_notified`` says that notifications are known to arrive, so that queries can be rarer.
        """
        before, self.current = self.current, self.storage.queues.control(self.backend, worker_id)
        if self._lost_id is not None:
            lost, self._lost_id = self.storage.queues.control(self.backend, self._lost_id), None
            self.current = self.current._replace(stop=self.current.stop or lost.stop)
        self._notified, self._queried_at = False, time.monotonic()
        every = EVERY_WITH_NOTIFICATIONS if is_notified else EVERY
        # A pause may have an end. A little later, so that it has ended by the database's clock as well.
        self._query_at = self._queried_at + min(every, self.current.changes_in + 0.01)
        return before[:3] != self.current[:3]

    def forget(self, worker_id: UUID) -> None:
        """Query again at once, since the lease of that id is lost. A request to stop it stays valid."""
        self._query_at = self._queried_at = float("-inf")
        self._lost_id = worker_id

    @property
    def seconds_to_next(self) -> float:
        """Seconds until the next query."""
        due = self._queried_at + AT_MOST_EVERY if self._notified else self._query_at
        return max(0.0, due - time.monotonic())
