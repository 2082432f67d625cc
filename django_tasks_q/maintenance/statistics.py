"""Keeps the statistics small: minutes are folded into hours, and old hours deleted."""

from ..storage import Storage

#: Seconds that statistics are kept.
KEPT = 14 * 24 * 60 * 60.0
#: Rows deleted at a time.
SLICE = 1000


def condense(storage: Storage, backend: str) -> bool:
    """Fold one hour, and delete a slice of old rows. Return whether there may be more to do."""
    folded = storage.statistics.fold(backend)
    return storage.statistics.forget(backend, KEPT, SLICE) >= SLICE or folded > 0
