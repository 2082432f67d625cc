"""Job ids: UUID version 7 (RFC 9562), so that ids made later sort later and indexes grow at one end."""

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0


def uuid7() -> uuid.UUID:
    """A new id, greater than every one this process made before.

    48 bits of milliseconds, 12 bits of a fraction of one (RFC 9562, 6.2, method 3), 62 random bits.
    """
    global _last
    with _lock:
        nanoseconds = time.time_ns()
        ticks = (nanoseconds // 1_000_000 << 12) | ((nanoseconds % 1_000_000 << 12) // 1_000_000)
        _last = ticks = max(ticks, _last + 1)
    random_bits = int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(
        int=(ticks >> 12 << 80) | (0x7 << 76) | ((ticks & 0xFFF) << 64) | (0b10 << 62) | random_bits
    )
