"""The starts of an executor's children: whether they succeed, and when to try again after a failure."""

from __future__ import annotations

import time

from ..loggers import robust_logger

logger = robust_logger("django_tasks_q.worker")

#: Children in a row that may die before they are ready, until their executor counts as broken.
MAX_FAILURES = 5
#: Seconds until the next try, twice as long each time, up to the longest.
PAUSE, LONGEST_PAUSE = 0.1, 60.0
#: Seconds between two warnings about children of one executor that could not be started.
WARN_AGAIN = 600.0


class Starts:
    """The recent starts of children of one executor."""

    def __init__(self, executor: str) -> None:
        self.executor = executor
        #: Whether no child can be started for now. Jobs of the executor are left to other workers meanwhile.
        self.is_broken = False
        #: Children in a row that could not be started, or died before they were ready.
        self._failures = 0
        self._next_at = self._warn_at = 0.0

    @property
    def seconds_to_next(self) -> float:
        """Seconds until another child may be started; 0 if it may now."""
        return max(0.0, self._next_at - time.monotonic())

    def failed(self, reason: str, *, is_alone: bool) -> None:
        """Count a failed start. ``is_alone`` says that no other child of the executor is ready."""
        self._failures += 1
        now = time.monotonic()
        self._next_at = now + min(LONGEST_PAUSE, PAUSE * 2**self._failures)
        if now >= self._warn_at:
            self._warn_at = now + WARN_AGAIN
            logger.warning(
                "A child process of executor %r could not be started, and will be tried again: %s",
                self.executor,
                reason,
            )
        # With other children ready, it is one child fewer.
        if is_alone and self._failures >= MAX_FAILURES and not self.is_broken:
            self.is_broken = True
            logger.error(
                "%d child processes in a row of executor %r could not be started; its jobs are left to other "
                "workers until one can: %s",
                self._failures,
                self.executor,
                reason,
            )

    def succeeded(self) -> bool:
        """Count a child that is ready. Return whether the executor was broken before."""
        was_broken, self.is_broken, self._failures = self.is_broken, False, 0
        if was_broken:
            logger.warning("Child processes of executor %r can be started again", self.executor)
        return was_broken

    def try_now(self) -> None:
        """Allow the next start at once, since resources have become free."""
        self._next_at = 0.0
