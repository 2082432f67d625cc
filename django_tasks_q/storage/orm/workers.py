"""Verbs on the rows of workers, which hold their leases."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from ...models import IdempotencyKey, Worker
from ..session import Session, repeated
from .clock import DatabaseNow


class Leases(Session):
    @repeated
    def register(self, worker: Worker, lease: float) -> None:
        """Insert a worker with a lease of that many seconds."""
        worker.started_at = DatabaseNow()
        worker.heartbeat_at = DatabaseNow()
        worker.lease_expires_at = DatabaseNow(lease)
        worker.save(force_insert=True, using=self.alias)

    @repeated
    def heartbeat(self, /, worker_id: UUID, lease: float, **told: int | None) -> bool:
        """Renew a lease that still holds. False means that it is over and its jobs are others' now.

        ``told`` are columns for people to read, written in passing.

        What is left of it must be a twelfth at least: a commit that is slow to come could else be read
        by nobody until others have found the jobs lost. The worker gives up by then too.
        """
        return bool(
            Worker.objects.using(self.alias)
            .filter(id=worker_id, lease_expires_at__gt=DatabaseNow(lease / 12), stopped_at__isnull=True)
            .update(heartbeat_at=DatabaseNow(), lease_expires_at=DatabaseNow(lease), **told)
        )

    @repeated
    def unregister(self, worker_id: UUID) -> None:
        """End a worker's lease now; whatever it still owns can be rescued at once."""
        Worker.objects.using(self.alias).filter(id=worker_id, stopped_at__isnull=True).update(
            stopped_at=DatabaseNow(), lease_expires_at=DatabaseNow()
        )

    @repeated
    def forget_workers(self, older_than: float = timedelta(days=1).total_seconds(), limit: int = 500) -> int:
        """Delete up to ``limit`` rows of workers whose lease ended more than ``older_than`` seconds ago."""
        workers = Worker.objects.using(self.alias)
        old = workers.filter(lease_expires_at__lt=DatabaseNow(-older_than)).order_by("lease_expires_at")
        ids = list(old.values_list("id", flat=True)[:limit])
        return workers.filter(id__in=ids).delete()[0] if ids else 0

    def forget_keys(self, older_than: float = timedelta(days=1).total_seconds(), limit: int = 500) -> int:
        """Delete up to ``limit`` idempotency keys of requests that were answered that long ago."""
        keys = IdempotencyKey.objects.using(self.alias)
        old = keys.filter(created_at__lt=DatabaseNow(-older_than)).order_by("created_at")
        ids = list(old.values_list("id", flat=True)[:limit])
        return keys.filter(id__in=ids).delete()[0] if ids else 0
