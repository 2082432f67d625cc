"""Ends jobs whose time to start is over. No worker claims them any more."""

from uuid import UUID

from ..storage import Storage

#: Jobs that expire in one transaction.
BATCH = 500


def expire(storage: Storage, backend: str) -> list[UUID]:
    """End a batch of jobs that have expired, and return their ids."""
    return storage.maintenance.expire(backend, BATCH)
