"""Ends jobs that were to be started by a moment that is past. No worker takes them any more."""

from uuid import UUID

from ..storage import Storage


def expire(storage: Storage, backend: str) -> list[UUID]:
    """Expire what is due. Answers which jobs were."""
    expired: list[UUID] = []
    while ended := storage.expire(backend):
        expired += ended
    return expired
