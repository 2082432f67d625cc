"""Workers as ``manage.py tasks workers`` prints them, and which of them are alive."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.db.models import BooleanField, Case, Q, Value, When

from ..access import database
from ..models import Worker
from ..storage.orm.clock import DatabaseNow
from .output import Printer


def latest_workers() -> list[Any]:
    holds = When(Q(lease_expires_at__gt=DatabaseNow()), then=Value(True))
    alive = Case(holds, default=Value(False), output_field=BooleanField())
    rows = Worker._default_manager.using(database()).annotate(is_alive=alive)
    return list(rows.order_by("-started_at")[:1000])


def state_of(worker: Any) -> str:
    if worker.stopped_at is not None:
        return "stopped"
    if not worker.is_alive:
        return "late"
    return "stopping" if worker.stop_requested_at else "alive"


def workers(printer: Printer, options: dict[str, Any]) -> int:
    rows = latest_workers()
    data = [
        {
            "id": str(worker.pk),
            "state": state_of(worker),
            "name": worker.name,
            "host": worker.hostname,
            "pid": worker.pid,
            "backend": worker.backend,
            "queues": worker.queues,
            "processes": worker.processes,
            "running_jobs": worker.running_jobs,
            "memory": worker.memory,
            "heartbeat_at": worker.heartbeat_at,
            "started_at": worker.started_at,
            "version": worker.version,
        }
        for worker in rows
    ]
    titles = ("STATE", "NAME", "HOST", "PID", "BACKEND", "QUEUES", "JOBS", "HEARTBEAT", "ID")
    names = ("state", "name", "host", "pid", "backend", "queues", "running_jobs", "heartbeat_at", "id")
    printer.table(titles, [[row[name] for name in names] for row in data], data)
    if not printer.as_json:
        for warning in namesakes(rows):
            printer.write(f"\n{warning}")
    return 0


def namesakes(workers: list[Any]) -> Iterator[str]:
    """Yield a sentence for each name that several workers have that are alive."""
    ids = defaultdict(list)
    for worker in workers:
        if state_of(worker) in ("alive", "stopping"):
            ids[worker.name].append(str(worker.pk))
    for name, found in sorted(ids.items()):
        if len(found) > 1:
            yield (
                f"{len(found)} workers that are alive have the name {name!r}: {', '.join(sorted(found))}. "
                "Give each another --worker-name"
            )
