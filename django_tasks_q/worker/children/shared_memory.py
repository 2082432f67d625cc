"""A few bytes of memory that the parent shares with a process child.

The child says there when the user code of its job began, and the parent which job is to end. Neither
costs a message, and the parent can read it although the child is stuck.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
from uuid import UUID

_BEGAN = struct.Struct("=d")
_CANCELLED = struct.Struct("=16si")
_SIZE = _BEGAN.size + _CANCELLED.size

#: Instead of a time: user code has not begun, and it is over.
WAITING, OVER = 0.0, -1.0


def open_memory() -> int:
    """A file descriptor of memory that can be handed to another process."""
    if sys.platform == "linux":
        fd = os.memfd_create("board")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    try:
        os.ftruncate(fd, _SIZE)
    except OSError:
        os.close(fd)
        raise
    return fd


class AttemptClock:
    """One side's view of it."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _SIZE)

    @property
    def began(self) -> float:
        """When the user code of the child's job began, on ``time.monotonic()``; or WAITING, or OVER."""
        began: float = _BEGAN.unpack_from(self._memory)[0]
        return began

    @began.setter
    def began(self, moment: float) -> None:
        _BEGAN.pack_into(self._memory, 0, moment)

    def cancel(self, job_id: UUID, fence: int) -> None:
        """Mark the attempt that is to end."""
        _CANCELLED.pack_into(self._memory, _BEGAN.size, job_id.bytes, fence)

    def is_cancelled(self, job_id: UUID, fence: int) -> bool:
        marked: tuple[bytes, int] = _CANCELLED.unpack_from(self._memory, _BEGAN.size)
        return marked == (job_id.bytes, fence)

    def close(self) -> None:
        self._memory.close()
