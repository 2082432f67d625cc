"""The outage of a database: since when it cannot be used, and when to try again."""

from __future__ import annotations

import time

from ..loggers import robust_logger

logger = robust_logger("django_tasks_q.worker")

#: Seconds until the next try; each further time twice as long, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds between two errors in the log about one outage.
LOG_AGAIN = 60.0


class Outage:
    """From the first error to the next success."""

    def __init__(self) -> None:
        #: When the database may be used again, on the monotonic clock.
        self.retry_at = 0.0
        self._pause = 0.0
        self._since: float | None = None
        self._logged_at: float | None = None

    def failed(self, error: Exception, *, busy: bool = False) -> None:
        """Count an error. With ``busy`` it is a lock that will be released, which is not logged."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._pause = FIRST_PAUSE if busy else min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self.retry_at = now + self._pause
        if busy or (self._logged_at is not None and now - self._logged_at < LOG_AGAIN):
            return
        lasted = now - self._since
        logger.error(
            "The database cannot be used%s; trying again: %s",
            f" for {lasted:.0f} seconds now" if lasted >= 1 else "",
            str(error).strip().partition("\n")[0],
        )
        self._logged_at = now

    def succeeded(self) -> None:
        """End the outage, if there is one: the database could be used."""
        if self._since is None:
            return
        if self._logged_at is not None:
            logger.warning(
                "The database can be used again after %.1f seconds", time.monotonic() - self._since
            )
        self._since = self._logged_at = None
        self._pause = 0.0
