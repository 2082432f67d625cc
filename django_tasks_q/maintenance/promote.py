"""Makes scheduled jobs ready when they are due, and ends jobs when they expire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from ..storage import Storage
from .expire import expire

#: Seconds until another try, where another worker does the same at this moment.
CONTENDED = 0.01


class Promoted(NamedTuple):
    """What a look at the waiting jobs has changed."""

    #: How many jobs became ready.
    ready: int
    #: Jobs that have expired.
    expired: Sequence[UUID]
    #: In how many seconds the next job is due or expires; None without one.
    due: float | None


def promote(storage: Storage, backend: str) -> Promoted:
    """Make a batch of due jobs ready, and end a batch of expired ones. Nothing is written if none is due."""
    start, expiry = storage.maintenance.next_due(backend)
    is_due, is_late = start is not None and start <= 0, expiry is not None and expiry <= 0
    # In this order: a job may be due to start and have expired.
    expired = expire(storage, backend) if is_late else []
    ready = storage.maintenance.promote(backend) if is_due else 0
    if expired or ready:
        start, expiry = storage.maintenance.next_due(backend)
    times = [max(CONTENDED, due) for due in (start, expiry) if due is not None]
    return Promoted(ready, expired, min(times, default=None))
