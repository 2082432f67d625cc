"""The workers, and what they can take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import BooleanField, Case, Q, QuerySet, Value, When
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from .. import codec
from ..models import Worker
from ..storage.clock import DatabaseNow
from . import text

#: Workers whose end is longer ago are of no interest on the dashboard.
RECENT = timedelta(hours=1)


def with_life(workers: QuerySet[Any]) -> QuerySet[Any]:
    """With whether a lease still holds: by the clock of the database, whatever ours says."""
    holds = When(Q(lease_expires_at__gt=DatabaseNow()), then=Value(True))
    alive = Case(holds, default=Value(False), output_field=BooleanField())
    found: QuerySet[Any] = workers.annotate(is_alive=alive)
    return found


def is_at_work(worker: Any) -> bool:
    return bool(worker.is_alive) and worker.stopped_at is None


def is_late(worker: Any) -> bool:
    """Whether it has gone without a word: its jobs are given to others."""
    return not worker.is_alive and worker.stopped_at is None


def state(worker: Any) -> SafeString:
    if worker.stopped_at is not None:
        return text.badge(_("Stopped"), "cancelled")
    if not worker.is_alive:
        return text.badge(_("Late"), "failed")
    if worker.stop_requested_at is not None:
        return text.badge(_("Stopping"), "scheduled")
    return text.badge(_("Alive"), "successful")


def names(stored: str | None) -> list[str] | None:
    """Queue names as a worker tells them; None for what is no list."""
    try:
        found = codec.loads(stored or "[]")
    except (RecursionError, ValueError):
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


def queues_text(worker: Worker) -> str:
    """Which queues a worker serves, in words."""
    served, left_out = names(worker.queues), names(worker.exclude_queues)
    if served is None:
        return worker.queues
    if served:
        return ", ".join(served)
    if left_out:
        return _("all but %(queues)s") % {"queues": ", ".join(left_out)}
    return _("all")


def serves(worker: Worker, backend: str, queue: str) -> bool:
    served = names(worker.queues) or []
    left_out = names(worker.exclude_queues) or []
    return worker.backend == backend and (queue in served if served else queue not in left_out)


def capacity(worker: Worker) -> int:
    """Jobs that it runs at a time, tasks of every kind together."""
    return int(worker.processes)


def room(workers: Iterable[Any], queue: tuple[str, str]) -> int:
    """Processes of the workers that serve a queue."""
    return sum(capacity(worker) for worker in workers if is_at_work(worker) and serves(worker, *queue))


def versions(workers: Iterable[Any]) -> list[str]:
    return sorted(Counter(worker.version for worker in workers if is_at_work(worker)))


def line(worker: Any) -> dict[str, Any]:
    """A worker as a row of a table."""
    return {
        "row": worker,
        "badge": state(worker),
        "queues": queues_text(worker),
        "heartbeat": text.since(worker.heartbeat_at),
        "started": text.since(worker.started_at),
        "memory": text.bytes_of(worker.memory) if worker.memory else "",
        "can_stop": is_at_work(worker) and worker.stop_requested_at is None,
    }
