"""Whether children of an executor can be started, and when the next is tried after one that could not be."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("django_tasks_q.worker")

#: Children in a row that may die before their first answer, until their group is left alone.
MAX_FAILURES = 5
#: Seconds until the next try, twice as long each time, up to the longest.
PAUSE, LONGEST_PAUSE = 0.1, 60.0
#: Seconds between two lines in the log about children of one group that could not be started.
SAY_AGAIN = 600.0


class Starts:
    """How starts of children have gone lately."""

    def __init__(self, executor: str) -> None:
        self.executor = executor
        #: No child can be had for now. Jobs of the executor are left to others until one can.
        self.is_broken = False
        #: Children in a row that could not be started, or died before their first answer.
        self._failures = 0
        self._next_at = self._say_at = 0.0

    @property
    def seconds_to_next(self) -> float:
        """Seconds until another child may be started; 0 if it may now."""
        return max(0.0, self._next_at - time.monotonic())

    def failed(self, reason: str, *, is_alone: bool) -> None:
        """A child could not be started; ``is_alone`` if no other of its executor is at work."""
        self._failures += 1
        now = time.monotonic()
        self._next_at = now + min(LONGEST_PAUSE, PAUSE * 2**self._failures)
        if now >= self._say_at:
            self._say_at = now + SAY_AGAIN
            logger.warning(
                "A child process of executor %r could not be started, and will be tried again: %s",
                self.executor,
                reason,
            )
        # With others at work it is one child fewer.
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
        """A child has given its first answer. Answers whether none could be had before."""
        was_broken, self.is_broken, self._failures = self.is_broken, False, 0
        if was_broken:
            logger.warning("Child processes of executor %r can be started again", self.executor)
        return was_broken

    def try_now(self) -> None:
        """Something has become free for another child."""
        self._next_at = 0.0
