"""The limits on a child's life, after which another child takes its place."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .system import resident_memory


@dataclass(frozen=True)
class Recycling:
    """Limits on a child's life; None for no limit. They are checked when one of its attempts has ended."""

    #: Attempts.
    jobs: int | None = None
    #: Resident memory, in bytes.
    memory: int | None = None
    #: Seconds.
    age: float | None = None

    def is_due(self, *, jobs: int, born: float, pid: int | None) -> bool:
        """Return whether a child has reached a limit, after ``jobs`` attempts.

        It was ``born`` at that time on the monotonic clock.
        """
        if self.jobs is not None and jobs >= self.jobs:
            return True
        if self.age is not None and time.monotonic() - born >= self.age:
            return True
        return self.memory is not None and pid is not None and resident_memory(pid) >= self.memory
