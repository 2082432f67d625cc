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

from .handover import NO_OFFER

# In the machine's own form: a field is written and read at once, where other forms go byte by byte.
_TURN = struct.Struct("@Qd")
_CANCELLED = struct.Struct("@Q")
_STOP = struct.Struct("@d")
_STOP_OFFSET = _TURN.size + _CANCELLED.size
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
    """One side's view of the memory. An attempt is named by the serial number of its offer to the child."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _SIZE)
        self._serial = NO_OFFER

    # The child's side

    def take_turn(self, serial: int) -> None:
        """Note that an attempt has its turn, and that its user code has not begun."""
        # One field after the other, so that no reader finds the time of another attempt with this number.
        _TURN.pack_into(self._memory, 0, self._serial, WAITING)
        self._serial = serial
        _TURN.pack_into(self._memory, 0, serial, WAITING)

    def mark_begun(self, at: float | None = None) -> None:
        """Note that user code begins, now or at a time on ``time.monotonic()``."""
        _TURN.pack_into(self._memory, 0, self._serial, time.monotonic() if at is None else at)

    def mark_over(self) -> None:
        """Note that user code is over."""
        _TURN.pack_into(self._memory, 0, self._serial, OVER)

    @property
    def is_cancelled(self) -> bool:
        """Whether the attempt that has its turn is cancelled."""
        marked: int = _CANCELLED.unpack_from(self._memory, _TURN.size)[0]
        return marked == self._serial

    # The supervisor's side

    @property
    def turn(self) -> tuple[int, float]:
        """The attempt that has its turn, and when its code began: WAITING, OVER or ``time.monotonic()``."""
        turn: tuple[int, float] = _TURN.unpack_from(self._memory)
        return turn

    def cancel(self, serial: int) -> None:
        """Note the attempt that is cancelled."""
        _CANCELLED.pack_into(self._memory, _TURN.size, serial)

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
