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

    def next(self) -> int:
        with self._lock:
            milliseconds, rest = divmod(time.time_ns(), 1_000_000)
            self._last = max((milliseconds << 12) | ((rest << 12) // 1_000_000), self._last + 1)
            return self._last


_ticks = _Ticks()


def uuid7() -> uuid.UUID:
    """A new id, greater than every one this process made before.

    48 bits of milliseconds, 12 bits of a fraction of one (RFC 9562, 6.2, method 3), 62 random bits.
    """
    return uuid.UUID(int=_number())


def uuid7_text() -> str:
    """The same in its usual form, without an object in between."""
    digits = f"{_number():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _number() -> int:
    ticks = _ticks.next()
    random_bits = int.from_bytes(os.urandom(8), "big") >> 2
    return (ticks >> 12 << 80) | (0x7 << 76) | ((ticks & 0xFFF) << 64) | (0b10 << 62) | random_bits
