"""What running attempts have told and nobody has written down yet."""

from __future__ import annotations

import logging
import time
from collections import deque

from django.db import DatabaseError

from ...storage import Note, Storage

logger = logging.getLogger("django_tasks_q.worker")

#: Seconds that a note may wait for others to be written with it.
PAUSE = 0.25
#: Most notes written by one transaction.
BATCH = 500
#: Most that are kept while the database does not answer; then the oldest go.
MOST = 10_000


class ProgressBuffer:
    """Notes on their way to the database, in their order."""

    def __init__(self) -> None:
        self._notes: deque[Note] = deque(maxlen=MOST)
        self._since = 0.0

    def append(self, note: Note) -> None:
        if not self._notes:
            self._since = time.monotonic()
        self._notes.append(note)

    @property
    def seconds_to_next(self) -> float:
        """Seconds until notes should be written; infinite without any."""
        return max(0.0, self._since + PAUSE - time.monotonic()) if self._notes else float("inf")

    def write(self, storage: Storage, *, now: bool) -> None:
        """Write what is due, or with ``now`` all. Raises a database Error that is not about the notes."""
        while self._notes and (now or not self.seconds_to_next):
            batch = [self._notes[index] for index in range(min(BATCH, len(self._notes)))]
            try:
                storage.note(batch)
            except DatabaseError as error:
                if not storage.refuses(error):
                    raise
                # As when a job was deleted in between. Nothing depends on a note.
                logger.warning("%d notes of running jobs were refused: %s", len(batch), error)
            for _ in batch:
                self._notes.popleft()

    def forget(self) -> None:
        """The jobs they are about are others' now."""
        self._notes.clear()
