"""Interrupts database calls that do not return, as on a connection whose other end is gone."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Self

from django.db import OperationalError

from .. import storage
from ..validation import plain

#: Seconds between two interruptions: what cleans up after the first may itself wait for the database.
AGAIN = 1.0
#: The most and the fewest seconds that a call may take, and the share of the lease in between: a call that
#: hangs leaves time to renew the lease on another connection.
LONGEST, SHORTEST, SHARE = 15.0, 2.0, 1 / 5
#: The most of a short lease: between the time at which it is to be renewed and the time at which the children
#: are killed, two calls may hang.
LARGEST_SHARE = 3 / 8

#: The package whose calls are interrupted.
_STORAGE = storage.__name__


class DatabaseTimeoutReached(OperationalError):
    """The database did not reply in time."""


class DatabaseTimeout:
    """In its ``with`` block a database call raises DatabaseTimeoutReached after ``seconds`` of the block.

    ``lease`` is the length of the lease in seconds; without one, the longest time is used.

    Only for the main thread of a process that uses no other alarm. A driver that waits in C and ignores
    signals has a limit of its own, see ``Storage.prepare_worker``: there it may be twice as long.
    """

    def __init__(self, lease: float = float("inf")) -> None:
        self.seconds = min(LONGEST, max(lease * SHARE, min(SHORTEST, lease * LARGEST_SHARE)))
        self._armed = False
        signal.signal(signal.SIGALRM, self._interrupt)

    def __enter__(self) -> Self:
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # Set here, not by the timer itself: a driver that waits in C starts its own limit anew at each
        # signal, and with one each second would never reach its end.
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        # Only a call to the database is interrupted, never the bookkeeping between two of them.
        if self._armed and _calls_storage(frame):
            raise DatabaseTimeoutReached(f"No answer within {plain(self.seconds)} seconds")


def _calls_storage(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(_STORAGE):
            return True
        frame = frame.f_back
    return False
