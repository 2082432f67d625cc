"""Verbs on the rows of workers, which hold their leases."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from ...models import Worker
from ..session import Part, repeated
from .clock import DatabaseNow


class Workers(Part):
    @repeated
    def register(self, worker: Worker, lease: float) -> None:
        worker.started_at = DatabaseNow()
        worker.heartbeat_at = DatabaseNow()
        worker.lease_expires_at = DatabaseNow(lease)
        worker.save(force_insert=True, using=self.alias)

    @repeated
    def heartbeat(self, /, worker_id: UUID, lease: float, **columns: int | None) -> bool:
        return bool(
            Worker.objects.using(self.alias)
            .filter(id=worker_id, lease_expires_at__gt=DatabaseNow(lease / 12), stopped_at__isnull=True)
            .update(heartbeat_at=DatabaseNow(), lease_expires_at=DatabaseNow(lease), **columns)
        )

    @repeated
    def namesakes(self, worker_id: UUID, name: str) -> list[tuple[UUID, str, int]]:
        others = Worker.objects.using(self.alias).filter(name=name, lease_expires_at__gt=DatabaseNow())
        return list(others.exclude(id=worker_id).order_by("id").values_list("id", "hostname", "pid")[:10])

    @repeated
    def unregister(self, worker_id: UUID) -> None:
        Worker.objects.using(self.alias).filter(id=worker_id, stopped_at__isnull=True).update(
            stopped_at=DatabaseNow(), lease_expires_at=DatabaseNow()
        )

    @repeated
    def forget(self, older_than: float = timedelta(days=1).total_seconds(), limit: int = 500) -> int:
        workers = Worker.objects.using(self.alias)
        old = workers.filter(lease_expires_at__lt=DatabaseNow(-older_than)).order_by("lease_expires_at")
        ids = list(old.values_list("id", flat=True)[:limit])
        return workers.filter(id__in=ids).delete()[0] if ids else 0

    @repeated
    def stop(self, worker_id: UUID) -> str | None:
        workers = Worker.objects.using(self.alias).filter(
            id=worker_id,
            stopped_at__isnull=True,
            stop_requested_at__isnull=True,
            lease_expires_at__gt=DatabaseNow(),
        )
        if not workers.update(stop_requested_at=DatabaseNow()):
            return None
        return Worker.objects.using(self.alias).values_list("backend", flat=True).get(id=worker_id)
