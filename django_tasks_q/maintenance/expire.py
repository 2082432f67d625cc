"""Ends jobs that were to be started by a moment that is past. No worker takes them any more."""

from uuid import UUID

from ..storage import Storage

#: Jobs expired in one transaction.
BATCH = 500


def expire(storage: Storage, backend: str) -> list[UUID]:
    """Expire a batch of what is due. Answers which jobs were."""
    return storage.expire(backend, BATCH)
