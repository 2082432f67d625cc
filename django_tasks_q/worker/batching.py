"""How long a busy worker lets endings gather before it writes them."""

from __future__ import annotations

import time

#: Most seconds that an ending waits for others.
LONGEST = 0.01


class Batching:
    """A spell in which the children are left alone, since each of them has enough to do.

    What they answer in it is read at its end, and written by one statement. Where a child is about to run
    out of jobs there is none: with little to do, everything is written at once.
    """

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left of it, 0 if none is on."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, in_hand: float) -> None:
        """Start one, unless one is on, for less than the ``in_hand`` seconds that children have work for."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + min(LONGEST, in_hand / 2)

    def end(self) -> None:
        """Somebody is in a hurry."""
        self._until = 0.0
