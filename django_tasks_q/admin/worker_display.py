"""Workers as they are shown, and how many jobs they can run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db.models import BooleanField, Case, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..access import database
from ..models import Worker
from ..models.worker import names_in
from ..storage import claimable
from ..storage.orm.clock import DatabaseNow
from . import formatting

#: The dashboard shows late workers whose last heartbeat is not older than this.
RECENT = timedelta(hours=1)


def with_liveness(workers: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate ``is_alive``: whether the lease is valid by the clock of the database."""
    holds = When(Q(lease_expires_at__gt=DatabaseNow()), then=Value(True))
    alive = Case(holds, default=Value(False), output_field=BooleanField())
    found: QuerySet[Any] = workers.annotate(is_alive=alive)
    return found


def with_stopped(workers: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate ``has_stopped``: 1 for workers that have stopped, 0 for others."""
    ended = Case(When(Q(stopped_at__isnull=False), then=Value(1)), default=Value(0))
    found: QuerySet[Any] = workers.annotate(has_stopped=ended)
    return found


def is_running(worker: Any) -> bool:
    return bool(worker.is_alive) and worker.stopped_at is None


def is_late(worker: Any) -> bool:
    """Return whether the lease has expired without a stop. Other workers take over its jobs."""
    return not worker.is_alive and worker.stopped_at is None


def state(worker: Any) -> SafeString:
    if worker.stopped_at is not None:
        return formatting.badge(_("Stopped"), "cancelled")
    if not worker.is_alive:
        return formatting.badge(_("Late"), "failed")
    if worker.stop_requested_at is not None:
        return formatting.badge(_("Stopping"), "scheduled")
    return formatting.badge(_("Alive"), "successful")


def queues_text(worker: Worker) -> str:
    """Return the queues that a worker serves as text."""
    served, left_out = names_in(worker.queues), names_in(worker.exclude_queues)
    if served is None:
        return worker.queues
    if served:
        return ", ".join(served)
    if left_out:
        return _("all except %(queues)s") % {"queues": ", ".join(left_out)}
    return _("all")


def serves(worker: Worker, backend: str, queue: str) -> bool:
    """Return whether a worker claims from a queue of a backend."""
    served, left_out = names_in(worker.queues) or (), names_in(worker.exclude_queues) or ()
    return worker.backend == backend and claimable.serves(queue, served, left_out)


def capacity(worker: Worker) -> int:
    """Return the number of jobs that a worker runs at a time, over all executors."""
    return int(worker.processes)


class RecentWorkers:
    """The running workers, and the late ones that have sent a heartbeat recently."""

    def __init__(self, workers: Iterable[Any]) -> None:
        self.workers = list(workers)
        self.running = [worker for worker in self.workers if is_running(worker)]
        self.late = [worker for worker in self.workers if is_late(worker)]
        #: Processes by the queue they are limited to, and of others by backend and excluded queues.
        self._by_queue: Counter[tuple[str, str]] = Counter()
        self._by_exclusion: Counter[tuple[str, frozenset[str]]] = Counter()
        for worker in self.running:
            # The queues are stored as text, which is parsed once and not for each queue.
            if served := names_in(worker.queues):
                for queue in set(served):
                    self._by_queue[worker.backend, queue] += capacity(worker)
            else:
                left_out = frozenset(names_in(worker.exclude_queues) or ())
                self._by_exclusion[worker.backend, left_out] += capacity(worker)

    @classmethod
    def now(cls) -> RecentWorkers:
        """Read the workers with a valid lease and the recently late ones. It takes one query."""
        unstopped = with_liveness(Worker._default_manager.using(database())).filter(stopped_at__isnull=True)
        lately = Q(heartbeat_at__gt=timezone.now() - RECENT)
        return cls(unstopped.filter(Q(is_alive=True) | lately).order_by("is_alive", "-started_at", "pk"))

    def processes_for(self, queue: tuple[str, str]) -> int:
        """Return the number of processes of the workers that serve a queue."""
        backend, name = queue
        others = ((key, number) for key, number in self._by_exclusion.items() if key[0] == backend)
        return self._by_queue[queue] + sum(number for (_backend, left), number in others if name not in left)

    def versions(self) -> list[str]:
        return sorted({worker.version for worker in self.running})


def shared_names(workers: Iterable[Any]) -> list[str]:
    """Return a warning for each name that several of these workers have that are running."""
    names = Counter(worker.name for worker in workers if is_running(worker))
    return [
        _("Several running workers have the name “%(name)s”. Only their ids distinguish them.")
        % {"name": name}
        for name, count in sorted(names.items())
        if count > 1
    ]


def table_row(worker: Any) -> dict[str, Any]:
    """Return what tables show of a worker."""
    return {
        "row": worker,
        "badge": state(worker),
        "queues": queues_text(worker),
        "heartbeat": formatting.since(worker.heartbeat_at),
        "started": formatting.since(worker.started_at),
        "memory": formatting.bytes_of(worker.memory) if worker.memory else "",
        "can_stop": is_running(worker) and worker.stop_requested_at is None,
    }
