"""The progress updates and log lines of running attempts that are not written yet."""

from __future__ import annotations

import time
from collections import deque

from django.db import DatabaseError

from ...loggers import robust_logger
from ...storage import Note, Storage

logger = robust_logger("django_tasks_q.worker")

#: Seconds that an update may wait for others to be written with it.
PAUSE = 0.25
#: The most updates written in one transaction.
BATCH = 500
#: The most updates kept while the database cannot be used; beyond, the oldest are dropped.
MAX_UPDATES = 10_000


class ProgressBuffer:
    """Updates on their way to the database, in their order."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._updates: deque[Note] = deque(maxlen=MAX_UPDATES)
        self._since = 0.0

    def append(self, update: Note) -> None:
        """Add an update."""
        if not self._updates:
            self._since = time.monotonic()
        self._updates.append(update)

    @property
    def seconds_to_next(self) -> float:
        """Seconds until updates should be written; infinite without any."""
        return max(0.0, self._since + PAUSE - time.monotonic()) if self._updates else float("inf")

    def write(self, *, now: bool) -> None:
        """Write what is due, or with ``now`` all. Raises a database Error that is not about the updates."""
        while self._updates and (now or not self.seconds_to_next):
            batch = [self._updates[index] for index in range(min(BATCH, len(self._updates)))]
            try:
                self.storage.progress.save(batch)
            except DatabaseError as error:
                if not self.storage.session.refuses(error):
                    raise
                # As when a job was deleted in between. Nothing depends on an update.
                logger.warning("%d progress updates of running jobs were refused: %s", len(batch), error)
            for _ in batch:
                self._updates.popleft()

    def forget(self) -> None:
        """Drop the updates, whose jobs belong to other workers."""
        self._updates.clear()
