"""The workers, and what they can take."""

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

#: Workers whose end is longer ago are of no interest on the dashboard.
RECENT = timedelta(hours=1)


def with_life(workers: QuerySet[Any]) -> QuerySet[Any]:
    """With whether a lease still holds: by the clock of the database, whatever ours says."""
    holds = When(Q(lease_expires_at__gt=DatabaseNow()), then=Value(True))
    alive = Case(holds, default=Value(False), output_field=BooleanField())
    found: QuerySet[Any] = workers.annotate(is_alive=alive)
    return found


def with_end(workers: QuerySet[Any]) -> QuerySet[Any]:
    """With 1 for those that have stopped, and 0 for others."""
    ended = Case(When(Q(stopped_at__isnull=False), then=Value(1)), default=Value(0))
    found: QuerySet[Any] = workers.annotate(has_ended=ended)
    return found


def is_at_work(worker: Any) -> bool:
    return bool(worker.is_alive) and worker.stopped_at is None


def is_late(worker: Any) -> bool:
    """Whether it has gone without a word: its jobs are given to others."""
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
    """Which queues a worker serves, in words."""
    served, left_out = names_in(worker.queues), names_in(worker.exclude_queues)
    if served is None:
        return worker.queues
    if served:
        return ", ".join(served)
    if left_out:
        return _("all but %(queues)s") % {"queues": ", ".join(left_out)}
    return _("all")


def serves(worker: Worker, backend: str, queue: str) -> bool:
    """Return whether a worker claims from a queue of a backend."""
    served, left_out = names_in(worker.queues) or (), names_in(worker.exclude_queues) or ()
    return worker.backend == backend and claimable.serves(queue, served, left_out)


def capacity(worker: Worker) -> int:
    """Jobs that it runs at a time, tasks of every kind together."""
    return int(worker.processes)


class Fleet:
    """The workers that are at work, and those that have gone lately without a word."""

    def __init__(self, workers: Iterable[Any]) -> None:
        self.workers = list(workers)
        self.at_work = [worker for worker in self.workers if is_at_work(worker)]
        self.late = [worker for worker in self.workers if is_late(worker)]
        #: Processes by the queue that they are named for, and by backend of all queues but some.
        self._named: Counter[tuple[str, str]] = Counter()
        self._all: Counter[tuple[str, frozenset[str]]] = Counter()
        for worker in self.at_work:
            # What one serves is text: it is read once, and not for each queue.
            if served := names_in(worker.queues):
                for queue in set(served):
                    self._named[worker.backend, queue] += capacity(worker)
            else:
                left_out = frozenset(names_in(worker.exclude_queues) or ())
                self._all[worker.backend, left_out] += capacity(worker)

    @classmethod
    def now(cls) -> Fleet:
        """One query: every lease that holds, however many workers have come and gone since."""
        unstopped = with_life(Worker._default_manager.using(database())).filter(stopped_at__isnull=True)
        lately = Q(heartbeat_at__gt=timezone.now() - RECENT)
        return cls(unstopped.filter(Q(is_alive=True) | lately).order_by("is_alive", "-started_at", "pk"))

    def room(self, queue: tuple[str, str]) -> int:
        """Processes of the workers that serve a queue."""
        backend, name = queue
        others = ((key, number) for key, number in self._all.items() if key[0] == backend)
        return self._named[queue] + sum(number for (_backend, left), number in others if name not in left)

    def versions(self) -> list[str]:
        return sorted({worker.version for worker in self.at_work})


def line(worker: Any) -> dict[str, Any]:
    """A worker as a row of a table."""
    return {
        "row": worker,
        "badge": state(worker),
        "queues": queues_text(worker),
        "heartbeat": formatting.since(worker.heartbeat_at),
        "started": formatting.since(worker.started_at),
        "memory": formatting.bytes_of(worker.memory) if worker.memory else "",
        "can_stop": is_at_work(worker) and worker.stop_requested_at is None,
    }
