"""What the worker knows of a database that cannot be used: since when, and when to ask again."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("django_tasks_q.worker")

#: Seconds until the database is asked again; each further time twice as long, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds between two lines in the log about one outage.
SAY_AGAIN = 60.0


class Outage:
    """From the first error to the next success."""

    def __init__(self) -> None:
        #: When the database may be asked again, on the monotonic clock.
        self.retry_at = 0.0
        self._pause = 0.0
        self._since: float | None = None
        self._said_at: float | None = None

    def met(self, error: Exception, *, busy: bool = False) -> None:
        """There was an error. With ``busy`` it is one that passes by itself, and not worth a line."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._pause = FIRST_PAUSE if busy else min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self.retry_at = now + self._pause
        if busy or (self._said_at is not None and now - self._said_at < SAY_AGAIN):
            return
        lasted = now - self._since
        logger.error(
            "The database cannot be used%s; trying again: %s",
            f" for {lasted:.0f} seconds now" if lasted >= 1 else "",
            str(error).strip().partition("\n")[0],
        )
        self._said_at = now

    def over(self) -> None:
        """The database did what it was asked for."""
        if self._since is None:
            return
        if self._said_at is not None:
            logger.warning(
                "The database can be used again after %.1f seconds", time.monotonic() - self._since
            )
        self._since = self._said_at = None
        self._pause = 0.0
