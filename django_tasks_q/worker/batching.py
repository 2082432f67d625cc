"""The pauses in which a busy worker collects endings to write them in one batch."""

from __future__ import annotations

import time

#: The most seconds that an ending waits for others.
LONGEST = 0.01


class Batching:
    """A pause in which the children are not listened to, since each of them has enough to do.

    Their outcomes are read at its end, and written by one statement. There is none while a child is about to
    run out of jobs: with little to do, everything is written at once.
    """

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left of the pause, 0 outside of one."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, seconds_of_work: float) -> None:
        """Start a pause, unless one is on, that is shorter than the time for which the children have work."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + min(LONGEST, seconds_of_work / 2)

    def end(self) -> None:
        """End the pause."""
        self._until = 0.0
