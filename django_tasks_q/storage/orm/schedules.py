"""Verbs on schedules and on the records of their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import OuterRef, Q, Subquery

from ...failpoints import failpoint
from ...models import Firing, Job, Schedule, Worker
from ...models.schedule import Origin, Outcome, OverlapPolicy, ScheduleQuerySet
from ..contract import Decide, First
from ..session import Part, repeated
from ..values import Decision, Declared, KnownSchedules, NewJobs, Planned, ScheduleChange
from .clock import DatabaseNow, aware, storable

#: Columns that the code decides of a schedule of its own.
DECLARED = (
    "task_name", "arguments", "queue_name", "priority", "kind", "expression", "timezone", "missed", "overlap",
)  # fmt: skip
TIMING = ("kind", "expression", "timezone")
#: Seconds after the end of the worker that declared a schedule, within which another one that declares it too
#: takes over. Later than that it is retired.
GRACE = 150.0
#: How many of the latest jobs of a schedule are checked for one that has not ended.
LATEST_JOBS = 20
#: How many of the latest ticks of each schedule are kept, however old they are.
LATEST_TICKS = 20


class Schedules(Part):
    def _schedules(self, backend: str) -> ScheduleQuerySet:
        return Schedule.objects.using(self.alias).filter(backend=backend)

    def _active(self, backend: str, known: KnownSchedules) -> ScheduleQuerySet:
        """Return the schedules that are active and that this process can fire."""
        ours = Q(origin=Origin.CODE, name__in=known.names)
        ours |= Q(origin=Origin.DATABASE, task_name__in=known.task_names)
        rows = self._schedules(backend).active().filter(ours)
        return rows.exclude(id__in=list(known.unreadable)) if known.unreadable else rows

    def next_tick(self, backend: str, known: KnownSchedules) -> float | None:
        row = (
            self._active(backend, known)
            .order_by("next_at")
            .annotate(now=DatabaseNow())
            .values_list("next_at", "now")
            .first()
        )
        if row is None or row[0] is None:
            return None
        return (row[0] - row[1]).total_seconds()

    @repeated
    def fire(
        self,
        backend: str,
        known: KnownSchedules,
        decide: Decide,
        store: Callable[[NewJobs], None],
        limit: int = 20,
    ) -> list[tuple[Schedule, Planned]]:
        written: list[tuple[Schedule, Planned]] = []
        with self.session.transaction():
            for row in self._locked(self._active(backend, known).filter(next_at__lte=DatabaseNow()), limit):
                failpoint("schedule.locked")
                decision = decide(row, aware(row.now), self._is_taken(row))
                if decision is None:
                    continue
                if self._move_on(row, decision):
                    written += [(row, each) for each in decision.firings if self._write(row, each, store)]
                failpoint("schedule.written")
        if written:
            failpoint("schedule.committed")
        return written

    def _locked(self, rows: ScheduleQuerySet, limit: int) -> Iterable[Any]:
        """Return the rows with the time, locked in one order everywhere. Rows that are locked are skipped."""
        features = self.connection.features
        if features.has_select_for_update:
            rows = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        return list(rows.order_by("id").annotate(now=DatabaseNow())[:limit])

    def _move_on(self, row: Schedule, decision: Decision) -> bool:
        same = self._schedules(row.backend).active().filter(id=row.pk, next_at=row.next_at)
        changes: dict[str, Any] = {
            "next_at": None if decision.next_at is None else storable(decision.next_at)
        }
        fired = [each.tick for each in decision.firings if each.send is not None]
        if fired:
            changes["last_at"] = storable(fired[-1])
        return bool(same.update(**changes))

    def _write(self, row: Schedule, planned: Planned, store: Callable[[NewJobs], None]) -> bool:
        send = planned.send
        firing = Firing(
            schedule_id=row.pk,
            tick=storable(planned.tick),
            outcome=planned.outcome,
            job_id=None if send is None else UUID(send.ids[0]),
            reason=planned.reason[:255],
            fired_at=DatabaseNow(),
        )
        try:
            with self.session.transaction():
                firing.save(force_insert=True, using=self.alias)
        except IntegrityError:
            return False  # another process has fired it
        if send is not None:
            store(send)
        return True

    def _is_taken(self, row: Schedule) -> bool:
        """Return whether one of the latest jobs of a schedule that must not overlap has not ended."""
        if row.overlap == OverlapPolicy.ALLOW:
            return False
        firings = Firing._default_manager.using(self.alias).filter(schedule_id=row.pk, job_id__isnull=False)
        latest = firings.order_by("-tick").values_list("job_id", flat=True)[:LATEST_JOBS]
        ids = [id for id in latest if id is not None]
        return bool(ids) and Job.objects.using(self.alias).filter(id__in=ids).unfinished().exists()

    # What the code declares

    @repeated
    def declare(
        self,
        backend: str,
        declared: Sequence[Schedule],
        first: First,
        worker_id: UUID | None = None,
        *,
        may_retire: bool = True,
    ) -> Declared:
        wanted = {row.name: row for row in declared}
        found = list(self._of_the_code(backend, wanted, worker_id, may_retire))
        clashes = [row.name for row in found if row.origin != Origin.CODE]
        is_complete = {row.name for row in found} >= wanted.keys()
        if is_complete and not any(_change(row, wanted, worker_id) for row in found):
            return Declared(clashes, [])
        changes: list[ScheduleChange] = []
        with self.session.transaction():
            self._schedules(backend).bulk_create(declared, ignore_conflicts=True)
            rows = self._of_the_code(backend, wanted, worker_id, may_retire)
            if self.connection.features.has_select_for_update:
                rows = rows.select_for_update()
            for row in rows.order_by("id"):
                if (kind := _change(row, wanted, worker_id)) is None:
                    continue
                values = _declared(row, wanted, first, kind, worker_id)
                self._schedules(backend).filter(id=row.pk).update(**values)
                if kind != TAKEN_OVER:
                    changes.append(ScheduleChange(row.name, kind, _altered(row, values)))
        return Declared(clashes, changes)

    def _of_the_code(
        self, backend: str, wanted: Iterable[str], worker_id: UUID | None, with_others: bool
    ) -> Any:
        """Return rows with the time, and lease and start of the workers that declare them."""
        ours = Q(name__in=list(wanted))
        if with_others:
            ours |= Q(origin=Origin.CODE)
        workers = Worker.objects.using(self.alias)
        owner = workers.filter(id=OuterRef("declared_by"))
        own = workers.none() if worker_id is None else workers.filter(id=worker_id)
        return (
            self._schedules(backend)
            .filter(ours)
            .annotate(
                now=DatabaseNow(),
                owner_lease=Subquery(owner.values("lease_expires_at")),
                owner_started=Subquery(owner.values("started_at")),
                own_started=Subquery(own.values("started_at")),
            )
        )

    # What people do

    def _one(self, backend: str, name: str) -> Any:
        """Return a schedule, locked until the transaction ends, with the time; None without one."""
        rows = self._schedules(backend).filter(name=name)
        if self.connection.features.has_select_for_update:
            rows = rows.select_for_update()
        return rows.annotate(now=DatabaseNow()).first()

    @repeated
    def enable(self, backend: str, name: str, first: First) -> bool | None:
        with self.session.transaction():
            row = self._one(backend, name)
            if row is None or (row.enabled and not row.is_stuck):
                return None if row is None else False
            next_at = first(row, aware(row.now)) if row.retired_at is None else None
            self._schedules(backend).filter(id=row.pk).update(
                enabled=True,
                disabled_at=None,
                disabled_by="",
                disable_reason="",
                next_at=None if next_at is None else storable(next_at),
            )
            return True

    @repeated
    def disable(self, backend: str, name: str, *, by: str, reason: str) -> bool | None:
        with self.session.transaction():
            row = self._one(backend, name)
            if row is None or not row.enabled:
                return None if row is None else False
            self._schedules(backend).filter(id=row.pk).update(
                enabled=False, disabled_at=DatabaseNow(), disabled_by=by, disable_reason=reason, next_at=None
            )
            return True

    @repeated
    def skip_tick(self, backend: str, name: str, first: First, *, reason: str) -> datetime | None:
        with self.session.transaction():
            row = self._one(backend, name)
            if row is None or not row.fires or row.next_at is None:
                return None
            tick = aware(row.next_at)
            following = first(row, tick)
            planned = Planned(tick, Outcome.SKIPPED, None, reason)
            self._move_on(row, Decision([], following))
            self._write(row, planned, lambda send: None)
            return tick

    @repeated
    def run(
        self,
        backend: str,
        name: str,
        send_for: Callable[[Schedule], NewJobs],
        store: Callable[[NewJobs], None],
        reason: str,
    ) -> UUID | None:
        with self.session.transaction():
            row = self._one(backend, name)
            if row is None:
                return None
            send = send_for(row)
            # Between ticks, which are whole seconds; to the microsecond, so that two do not meet.
            self._write(row, Planned(aware(row.now), Outcome.MANUAL, send, reason), store)
            return UUID(send.ids[0])

    @repeated
    def save(self, row: Schedule, first: First) -> bool:
        with self.session.transaction():
            known = self._one(row.backend, row.name)
            if known is None:
                row.origin = Origin.DATABASE
                row.save(force_insert=True, using=self.alias)
                known = self._one(row.backend, row.name)
            elif known.origin != Origin.DATABASE:
                return False
            changes = {name: getattr(row, name) for name in DECLARED}
            if known.fires and (
                known.next_at is None or any(getattr(known, name) != changes[name] for name in TIMING)
            ):
                next_at = first(row, aware(known.now))
                changes["next_at"] = None if next_at is None else storable(next_at)
            self._schedules(row.backend).filter(id=known.pk, origin=Origin.DATABASE).update(**changes)
            return True

    @repeated
    def delete(self, backend: str, name: str) -> bool:
        with self.session.transaction():
            row = self._one(backend, name)
            if row is None or (row.origin == Origin.CODE and row.retired_at is None):
                return False
            self._schedules(backend).filter(id=row.pk).delete()
            return True

    def forget_firings(self, older_than: float, limit: int = 500) -> int:
        firings = Firing._default_manager.using(self.alias)
        later = firings.filter(schedule_id=OuterRef("schedule_id")).order_by("-tick")
        old = firings.filter(
            fired_at__lt=DatabaseNow(-older_than),
            tick__lt=Subquery(later.values("tick")[LATEST_TICKS - 1 : LATEST_TICKS]),
        )
        ids = list(old.order_by("fired_at").values_list("id", flat=True)[:limit])
        return firings.filter(id__in=ids).delete()[0] if ids else 0


#: What a declaration does to a row: the kinds of ``ScheduleChange``, and one that is not reported.
DECLARED_NEW, CHANGED, BACK, RETIRED, TAKEN_OVER = "declared", "changed", "back", "retired", "taken over"


def _change(row: Any, wanted: dict[str, Schedule], worker_id: UUID | None) -> str | None:
    """Return what to do to a row of the code, by what the worker's code declares."""
    if row.origin != Origin.CODE:
        return None
    grace = timedelta(seconds=GRACE)
    is_alive = row.owner_lease is not None and row.owner_lease > row.now
    declared = wanted.get(row.name)
    if declared is None:
        if worker_id is not None and row.declared_by == worker_id:
            return RETIRED if row.retired_at is None else None
        was_declared = (row.owner_lease is not None and row.owner_lease > row.now - grace) or (
            row.declared_at is not None and row.declared_at > row.now - grace
        )
        return RETIRED if row.retired_at is None and not was_declared else None
    if row.retired_at is not None:
        return BACK
    if row.fires and row.next_at is None:
        return DECLARED_NEW
    if all(getattr(row, name) == getattr(declared, name) for name in DECLARED):
        return None if worker_id is None or is_alive else TAKEN_OVER
    if is_alive and row.declared_by != worker_id:
        # A release that is on its way out leaves it to the one that came after.
        is_later = row.own_started is None or row.own_started > row.owner_started
        return CHANGED if worker_id is not None and is_later else None
    return CHANGED


def _altered(row: Any, values: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the old and the new value of each column that the code has changed."""
    pairs = {name: (getattr(row, name), values[name]) for name in DECLARED if name in values}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _declared(
    row: Any, wanted: dict[str, Schedule], first: First, kind: str, worker_id: UUID | None
) -> dict[str, Any]:
    """Return the columns to change."""
    if kind == RETIRED:
        return {"retired_at": DatabaseNow(), "next_at": None}
    changes: dict[str, Any] = {"declared_by": worker_id, "declared_at": DatabaseNow()}
    if kind == TAKEN_OVER:
        return changes
    declared = wanted[row.name]
    changes |= {name: getattr(declared, name) for name in DECLARED}
    changes["retired_at"] = None
    moved = any(getattr(row, name) != changes[name] for name in TIMING)
    if row.enabled and (moved or row.next_at is None):
        next_at = first(declared, aware(row.now))
        changes["next_at"] = None if next_at is None else storable(next_at)
    return changes
