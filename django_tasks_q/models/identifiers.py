"""Job ids: UUID version 7 (RFC 9562), so that ids made later sort later and indexes grow at one end."""

import os
import threading
import time
import uuid


class _Ticks:
    """Quarters of a microsecond since the epoch, never the same twice in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def take(self, count: int) -> int:
        """Return the first of ``count`` that follow each other."""
        with self._lock:
            milliseconds, rest = divmod(time.time_ns(), 1_000_000)
            first = max((milliseconds << 12) | ((rest << 12) // 1_000_000), self._last + 1)
            self._last = first + count - 1
            return first


_ticks = _Ticks()


def uuid7() -> uuid.UUID:
    """Return a new id, greater than every one this process made before.

    48 bits of milliseconds, 12 bits of a fraction of one (RFC 9562, 6.2, method 3), 62 random bits.
    """
    return uuid.UUID(uuid7_texts(1)[0])


def uuid7_texts(count: int) -> list[str]:
    """Return new ids as text, each greater than the one before."""
    first = _ticks.take(count)
    random = os.urandom(8 * count).hex()
    texts = []
    for index, ticks in enumerate(range(first, first + count)):
        time_, rest = f"{ticks >> 12:012x}", random[16 * index : 16 * index + 16]
        variant = "89ab"[int(rest[0], 16) & 3]
        texts.append(f"{time_[:8]}-{time_[8:]}-7{ticks & 0xFFF:03x}-{variant}{rest[1:4]}-{rest[4:]}")
    return texts
