"""Fires schedules: enqueues their jobs at their times."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from ..backends import DatabaseBackend
from ..compat import InvalidTask
from ..definition.registry import refuse_internal, registry
from ..definition.task import Task
from ..exceptions import TaskNotRegistered
from ..loggers import robust_logger
from ..models import Schedule
from ..models.schedule import Origin, Outcome
from ..storage import Decision, Declared, KnownSchedules, NewJobs, Planned, Storage, aware
from ..timing import Cron, Missed, Overlap, plan
from .declare import DeclaredSchedule, schedules

logger = robust_logger("django_tasks_q.maintenance")

#: Schedules fired in one transaction.
BATCH = 20
#: Seconds that ticks are kept. The latest ones of each schedule are kept for ever.
KEPT = 7 * 24 * 60 * 60.0

#: Seconds for which a schedule that this process cannot read is left to others, before it is tried again.
LEAVE_FOR = 60.0

#: The errors of a schedule whose call cannot be enqueued.
UNUSABLE = (TypeError, ValueError, InvalidTask, TaskNotRegistered)


class Firings:
    """Declares the schedules of this process's code, and fires the due schedules of a backend."""

    def __init__(self, storage: Storage, backend: DatabaseBackend) -> None:
        self.storage = storage
        self.backend = backend
        #: Row and task of each schedule of the code.
        self.declared = dict(_usable(schedules.of(backend.alias)))
        self._known = KnownSchedules(list(self.declared), registry.names())
        #: Rows that this process cannot read, and until when it leaves them alone, by the monotonic clock.
        self._unreadable: dict[int, float] = {}
        #: What has been logged about schedules, which is logged once.
        self._logged: set[tuple[str, str]] = set()

    @property
    def known(self) -> KnownSchedules:
        """The schedules that this process can fire."""
        now = time.monotonic()
        self._unreadable = {pk: until for pk, until in self._unreadable.items() if until > now}
        return self._known._replace(unreadable=tuple(self._unreadable))

    def declare(self, worker_id: UUID | None = None) -> bool:
        """Write the schedules of this process's code, or of a worker's if one is named, to the table.

        It is to be repeated: a schedule that no live worker declares is retired. Return whether any schedule
        has changed.
        """
        rows = [row for row, _ in self.declared.values()]
        done = self.storage.schedules.declare(self.backend.alias, rows, first_tick, worker_id)
        self._log_declared(done)
        return bool(done.changes)

    def declare_one(self, name: str) -> None:
        """Write one schedule of this process's code to the table, before any worker has declared it."""
        if name in self.declared:
            row, _task = self.declared[name]
            self._log_declared(
                self.storage.schedules.declare(self.backend.alias, [row], first_tick, may_retire=False)
            )

    def _log_declared(self, declared: Declared) -> None:
        for name in declared.clashes:
            self._log_once(
                logging.ERROR,
                name,
                "The code's schedule %r does not fire: the table has another schedule of that name, which "
                "was not declared in code. Delete that one, or rename this.",
            )
        for name, kind, columns in declared.changes:
            if kind == "retired":
                logger.warning(
                    "Schedule %r does not fire any more: no live worker of this backend declares it.", name
                )
                continue
            # Arguments may be confidential.
            parts = [
                column if column == "arguments" else f"{column} {old!r} → {new!r}"
                for column, (old, new) in columns.items()
            ]
            logger.info("Schedule %r is %s in the code. %s", name, kind, ", ".join(parts))

    def _log_once(self, level: int, name: str, text: str, *values: Any) -> None:
        if (name, text % (name, *values)) not in self._logged:
            self._logged.add((name, text % (name, *values)))
            logger.log(level, text, name, *values)

    def fire(self) -> tuple[int, float | None]:
        """Fire a batch of due schedules.

        Return how many jobs were enqueued, and in how many seconds the next tick is due: None without one.
        """
        due = self.storage.schedules.next_tick(self.backend.alias, self.known)
        if due is None or due > 0:
            return 0, due
        written = self.storage.schedules.fire(self.backend.alias, self.known, self.decide, self._store, BATCH)
        if not written:
            due = self.storage.schedules.next_tick(self.backend.alias, self.known)
            # Another worker is firing at this moment what is still due.
            return 0, None if due is None else max(due, 0.05)
        for row, planned in written:
            _log(row, planned)
        jobs = sum(planned.send is not None for _, planned in written)
        return jobs, self.storage.schedules.next_tick(self.backend.alias, self.known)

    def decide(self, row: Schedule, now: datetime, has_job: bool) -> Decision | None:
        """Return what becomes of the due ticks of a schedule, or None if it cannot be read here.

        Such a schedule stays due, for a process of another release, or with other time zones.
        """
        first = now if row.next_at is None else aware(row.next_at)
        try:
            overlap = Overlap(row.overlap)
            found = plan(row.timing, first, now, Missed(row.missed))
        except ValueError as error:
            self._unreadable[row.pk] = time.monotonic() + LEAVE_FOR
            self._log_once(
                logging.ERROR,
                row.name,
                "Schedule %r is left to other workers, since this one cannot read it: %s",
                str(error),
            )
            return None
        firings = [] if found.missed is None else [Planned(found.missed, Outcome.MISSED, None)]
        for tick in found.fire:
            if has_job and overlap is Overlap.SKIP:
                firings.append(Planned(tick, Outcome.OVERLAP, None))
                continue
            try:
                send = self.send(row)
            except UNUSABLE as error:
                firings.append(Planned(tick, Outcome.FAILED, None, str(error)))
            else:
                firings.append(Planned(tick, Outcome.FIRED, send))
                has_job = True
        return Decision(firings, found.next_at)

    def send(self, row: Schedule) -> NewJobs:
        """Return a job of a schedule. Raises one of UNUSABLE."""
        if row.origin == Origin.CODE:
            if row.name not in self.declared:
                raise TaskNotRegistered(f"The code of this process has no schedule named {row.name!r}.")
            # The call of this process's release, whichever release has written the row.
            declared, task = self.declared[row.name]
            return self.backend.send(task, [declared.arguments])
        return self.backend.send(task_of(row), [row.arguments])

    def _store(self, send: NewJobs) -> None:
        self.backend.store_quietly(self.storage.alias, send)


def first_tick(row: Schedule, after: datetime) -> datetime | None:
    """Return the first tick after a moment. Raises ValueError for a schedule that cannot be read here."""
    return row.timing.next_after(after)


def task_of(row: Schedule) -> Task[..., Any]:
    """Return the task of a schedule of the table, under its options. Raises one of UNUSABLE."""
    task = registry.get(row.task_name)
    refuse_internal(task.name)
    options: dict[str, Any] = {"backend": row.backend}
    if row.queue_name:
        options["queue_name"] = row.queue_name
    if row.priority is not None:
        options["priority"] = row.priority
    return task.using(**options)


def row_of(declared: DeclaredSchedule) -> Schedule:
    """Return a schedule of the code as a row. Raises UnserializableValue or UnstorableValue."""
    task, timing = declared.call.task, declared.timing
    return Schedule(
        backend=declared.backend,
        name=declared.name,
        origin=Origin.CODE,
        task_name=task.name,
        arguments=declared.encoded(),
        queue_name=task.queue_name,
        priority=task.priority,
        kind="cron" if isinstance(timing, Cron) else "every",
        expression=str(timing),
        timezone=timing.timezone,
        missed=declared.missed,
        overlap=declared.overlap,
    )


def _usable(declared: Iterable[DeclaredSchedule]) -> Iterable[tuple[str, tuple[Schedule, Task[..., Any]]]]:
    for each in declared:
        try:
            yield each.name, (row_of(each), each.call.task)
        except UNUSABLE as error:
            logger.error("The schedule %r (%s) does not fire: %s", each.name, each.source, error)


def _log(row: Schedule, planned: Planned) -> None:
    if planned.send is not None:
        logger.debug("Schedule %r fired for %s: job id=%s", row.name, planned.tick, planned.send.ids[0])
    else:
        logger.warning(
            "Schedule %r did not fire for %s: %s. %s",
            row.name,
            planned.tick,
            Outcome(planned.outcome).label,
            planned.reason,
        )
