"""When a child has done enough, and another is to take its place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..system import resident_memory

if TYPE_CHECKING:
    from .parent_side import ParentSide


@dataclass(frozen=True)
class Recycling:
    """Limits on a child's life; None for none. They are looked at when one of its attempts has ended."""

    #: Attempts.
    jobs: int | None = None
    #: Resident memory, in bytes.
    memory: int | None = None
    #: Seconds.
    age: float | None = None

    def is_due(self, child: ParentSide) -> bool:
        if self.jobs is not None and child.done >= self.jobs:
            return True
        if self.age is not None and time.monotonic() - child.born >= self.age:
            return True
        return self.memory is not None and child.pid is not None and resident_memory(child.pid) >= self.memory
