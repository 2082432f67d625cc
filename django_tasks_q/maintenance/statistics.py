"""Keeps the statistics small: minutes become hours, and hours go."""

from ..storage import Storage

#: Seconds that statistics are kept.
KEPT = 14 * 24 * 60 * 60.0
#: Rows deleted at a time.
SLICE = 1000


def condense(storage: Storage, backend: str) -> bool:
    """Fold one hour, and delete a slice of what is old. Answers whether there may be more to do."""
    folded = storage.fold(backend)
    return storage.forget_statistics(backend, KEPT, SLICE) >= SLICE or folded > 0
