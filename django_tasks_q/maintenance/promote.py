"""Makes scheduled jobs ready when they are due."""

from ..storage import Storage


def promote(storage: Storage, backend: str) -> tuple[int, float | None]:
    """Make a batch of due jobs ready.

    Return how many, and in how many seconds the next job is due: None without one.
    """
    due = storage.maintenance.next_due(backend)
    if due is None or due > 0:
        return 0, due
    promoted = storage.maintenance.promote(backend)
    if not promoted:
        return 0, 0.01  # another worker is promoting them at this moment
    return promoted, storage.maintenance.next_due(backend)
