"""Verbs on the rows of queues, and what a worker reads of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import DateTimeField, F, IntegerField, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce

from ...lifecycle.states import JobStatus
from ...models import Job, Queue, Schedule, Worker
from ..session import repeated
from ..values import ControlState
from .clock import DatabaseNow
from .queue_counts import QueueCounting

#: No limit, where a number is asked for.
UNLIMITED = -1
#: What stands in the place of a limit in the row of a worker that is to stop, and of a schedule.
STOP, TICK = -2, -3
#: Seconds ahead in which due schedules are reported: more than the time between two queries of ``control``.
SOON = 15.0


def _paused() -> Q:
    return Q(paused_at__isnull=False) & (Q(paused_until__isnull=True) | Q(paused_until__gt=DatabaseNow()))


class Queues(QueueCounting):
    def _queue(self, backend: str, name: str) -> Any:
        return Queue._default_manager.using(self.alias).filter(backend=backend, name=name)

    @repeated
    def pause(self, backend: str, name: str, *, by: str, reason: str, until: datetime | None) -> bool:
        with self.session.transaction():
            self._found(backend, name)
            queue = self._queue(backend, name)
            values = {"paused_by": by, "pause_reason": reason, "paused_until": until}
            if queue.exclude(_paused()).update(paused_at=DatabaseNow(), **values):
                return True
            queue.update(**values)
            return False

    @repeated
    def resume(self, backend: str, name: str) -> bool:
        with self.session.transaction():
            was = bool(self._queue(backend, name).filter(_paused()).exists())
            self._queue(backend, name).update(
                paused_at=None, paused_by="", pause_reason="", paused_until=None
            )
            self._tidy(backend, name)
        return was

    @repeated
    def limit(self, backend: str, name: str, max_running: int | None) -> bool:
        with self.session.transaction():
            if max_running is not None:
                self._found(backend, name)
            other = ~Q(max_running__isnull=True)
            if max_running is not None:
                other = Q(max_running__isnull=True) | ~Q(max_running=max_running)
            done = bool(self._queue(backend, name).filter(other).update(max_running=max_running))
            self._tidy(backend, name)
        return done

    def _found(self, backend: str, name: str) -> None:
        """Insert a row unless there is one, by one statement, since two processes may insert the same."""
        Queue._default_manager.using(self.alias).bulk_create(
            [Queue(backend=backend, name=name)], ignore_conflicts=True
        )

    def _tidy(self, backend: str, name: str) -> None:
        """Delete a row that neither pauses nor limits, so that workers have nothing to read."""
        self._queue(backend, name).filter(paused_at__isnull=True, max_running__isnull=True).delete()

    def control(self, backend: str, worker_id: UUID) -> ControlState:
        number = IntegerField()
        queues = (
            Queue._default_manager.using(self.alias)
            .filter(_paused() | Q(max_running__isnull=False), backend=backend)
            .annotate(limit=Coalesce("max_running", Value(UNLIMITED), output_field=number), now=DatabaseNow())
            .order_by()
            .values_list("name", "limit", "paused_at", "paused_until", "now")
        )
        nothing = Value(None, output_field=DateTimeField())
        stops = (
            Worker.objects.using(self.alias)
            .filter(id=worker_id, stop_requested_at__isnull=False)
            .annotate(limit=Value(STOP, output_field=number), since=nothing, until=nothing)
            .annotate(now=DatabaseNow())
            .order_by()
            .values_list("name", "limit", "since", "until", "now")
        )
        ticks = (
            Schedule.objects.using(self.alias)
            .active()
            .filter(backend=backend, next_at__lte=DatabaseNow(SOON))
            .annotate(limit=Value(TICK, output_field=number), until=nothing, now=DatabaseNow())
            .order_by()
            .values_list("name", "limit", "next_at", "until", "now")
        )
        stop, paused, limited, pauses, fires = False, set(), {}, [], []
        for name, limit, since, until, now in queues.union(stops, ticks, all=True):
            if limit == STOP:
                stop = True
            elif limit == TICK and since is not None:
                fires.append((since - now).total_seconds())
            elif since is not None and (until is None or until > now):
                paused.add(name)
                if until is not None:
                    pauses.append((until - now).total_seconds())
            elif limit > UNLIMITED:
                limited[name] = limit
        never = float("inf")
        return ControlState(
            stop, frozenset(paused), limited, min(pauses, default=never), min(fires, default=never)
        )

    def with_room(self, backend: str) -> list[str]:
        # Said as a range, and in its order, no index but that of queues will do (see ``CLAIM_OF_QUEUE``).
        ready = (
            Job.objects.using(self.alias)
            .filter(status=JobStatus.READY, backend=backend)
            .filter(queue_name__gte=OuterRef("name"), queue_name__lte=OuterRef("name"))
            .in_claim_order("queue_name")
        )
        limited = Queue._default_manager.using(self.alias).filter(backend=backend, max_running__isnull=False)
        rows = limited.exclude(_paused()).annotate(
            first=Subquery(ready.values("id")[:1]), priority=Subquery(ready.values("priority")[:1])
        )
        with self.session.by_index():
            found = list(rows.values_list("name", "max_running", "priority", "first"))
        waiting = sorted((-priority, first, name, most) for name, most, priority, first in found if first)
        if not waiting:
            return []
        running = self._running(Job.objects.using(self.alias).filter(backend=backend))
        return [name for _, _, name, most in waiting if running.get((backend, name), 0) < (most or 0)]

    def vacancies(self, backend: str, name: str, *, locked: bool = False) -> int:
        queue = self._queue(backend, name)
        if locked:
            queue.update(turn=F("turn") + 1)
        found = queue.exclude(_paused()).values_list("max_running", flat=True).first()
        if found is None:
            return 0
        running = Job.objects.using(self.alias).filter(
            status=JobStatus.RUNNING, backend=backend, queue_name=name
        )
        vacant: int = found - running.count()
        return max(0, vacant)
