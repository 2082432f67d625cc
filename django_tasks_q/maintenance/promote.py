"""Makes scheduled jobs ready when they are due."""

from ..storage import Storage


def promote(storage: Storage, backend: str) -> tuple[int, float | None]:
    """Promote what is due.

    Answers how many jobs were, and in how many seconds the next one will be due, None without one.
    """
    promoted = 0
    due = storage.next_due(backend)
    while due is not None and due <= 0:
        count = storage.promote(backend)
        if not count:
            # Another worker is promoting them this moment.
            return promoted, 0.01
        promoted += count
        due = storage.next_due(backend)
    return promoted, due
