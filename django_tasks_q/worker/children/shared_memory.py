"""A few bytes of memory that the supervisor shares with a process child.

The child notes there when the user code of its job began, and the supervisor which job is cancelled, and when
all are to stop. None of that costs a message, and the supervisor can read it although the child is stuck.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile
import time
from uuid import UUID

_BEGAN = struct.Struct("=d")
_CANCELLED = struct.Struct("=16si")
_STOP = struct.Struct("=d")
_STOP_OFFSET = _BEGAN.size + _CANCELLED.size
_SIZE = _STOP_OFFSET + _STOP.size

#: Values in place of a time: user code has not begun, and it is over.
WAITING, OVER = 0.0, -1.0


def open_memory() -> int:
    """Return a file descriptor of memory that can be passed to another process."""
    if sys.platform == "linux":
        fd = os.memfd_create("attempt_clock")
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
    """One side's view of the memory."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _SIZE)

    @property
    def began(self) -> float:
        """When the user code of the child's job began, on ``time.monotonic()``; or WAITING, or OVER."""
        began: float = _BEGAN.unpack_from(self._memory)[0]
        return began

    def mark_waiting(self) -> None:
        """Note that user code has not begun."""
        _BEGAN.pack_into(self._memory, 0, WAITING)

    def mark_begun(self, at: float | None = None) -> None:
        """Note that user code begins, now or at a time on ``time.monotonic()``."""
        _BEGAN.pack_into(self._memory, 0, time.monotonic() if at is None else at)

    def mark_over(self) -> None:
        """Note that user code is over."""
        _BEGAN.pack_into(self._memory, 0, OVER)

    def cancel(self, job_id: UUID, fence: int) -> None:
        """Note the attempt that is cancelled."""
        _CANCELLED.pack_into(self._memory, _BEGAN.size, job_id.bytes, fence)

    def is_cancelled(self, job_id: UUID, fence: int) -> bool:
        """Return whether this attempt is cancelled."""
        marked: tuple[bytes, int] = _CANCELLED.unpack_from(self._memory, _BEGAN.size)
        return marked == (job_id.bytes, fence)

    def stop(self, at: float) -> None:
        """Note that the worker is stopping, and when its tasks are to be interrupted."""
        _STOP.pack_into(self._memory, _STOP_OFFSET, at)

    @property
    def stop_at(self) -> float:
        """When tasks are to be interrupted, on ``time.monotonic()``; infinite while the worker goes on."""
        at: float = _STOP.unpack_from(self._memory, _STOP_OFFSET)[0]
        return at or float("inf")

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()
