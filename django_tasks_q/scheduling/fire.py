"""Enqueues what schedules say, when they say so."""

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
from ..models import Schedule
from ..models.schedule import Origin, Outcome
from ..storage import Decision, Declared, KnownSchedules, NewJobs, Planned, Storage, aware
from ..timing import Cron, Missed, Overlap, plan
from .declare import DeclaredSchedule, schedules

logger = logging.getLogger("django_tasks_q.maintenance")

#: Schedules fired in one transaction.
BATCH = 20
#: Seconds that ticks are kept; of each schedule the latest ones for ever.
KEPT = 7 * 24 * 60 * 60.0

#: Seconds for which a schedule that this process cannot read is left to others, before it is tried again.
LEAVE_FOR = 60.0

#: Why a schedule's call cannot be enqueued.
UNUSABLE = (TypeError, ValueError, InvalidTask, TaskNotRegistered)


class Firings:
    """Declares the schedules of this process's code, and fires whatever is due of a backend."""

    def __init__(self, storage: Storage, backend: DatabaseBackend) -> None:
        self.storage = storage
        self.backend = backend
        #: Row and task of each schedule of the code.
        self.declared = dict(_usable(schedules.of(backend.alias)))
        self._known = KnownSchedules(list(self.declared), registry.names())
        #: Rows that this process cannot read, and until when it leaves them alone, by the monotonic clock.
        self._unreadable: dict[int, float] = {}
        #: What has been said of schedules, which is said once.
        self._said: set[tuple[str, str]] = set()

    @property
    def known(self) -> KnownSchedules:
        """What this process can fire."""
        now = time.monotonic()
        self._unreadable = {pk: until for pk, until in self._unreadable.items() if until > now}
        return self._known._replace(unreadable=tuple(self._unreadable))

    def declare(self, worker_id: UUID | None = None) -> bool:
        """Have the table say what the code of this process does, which is that of a worker if one is named.

        To be repeated: what no live worker declares is retired, and others take over from workers that end.
        Returns whether any schedule was changed.
        """
        rows = [row for row, _ in self.declared.values()]
        done = self.storage.declare(self.backend.alias, rows, first_tick, worker_id)
        self._report(done)
        return bool(done.changes)

    def declare_one(self, name: str) -> None:
        """Have a row for one schedule of the code of this process, before any worker has seen to it."""
        if name in self.declared:
            row, _task = self.declared[name]
            self._report(self.storage.declare(self.backend.alias, [row], first_tick, may_retire=False))

    def _report(self, declared: Declared) -> None:
        for name in declared.clashes:
            self._say_once(
                logging.ERROR,
                name,
                "The code's schedule %r does not fire: another one of that name was made. Delete "
                "that one, or rename this.",
            )
        for name, kind, columns in declared.changes:
            if kind == "retired":
                logger.warning(
                    "Schedule %r does not fire any more: no live worker of this backend declares it.", name
                )
                continue
            # Arguments may be secret.
            shown = [
                column if column == "arguments" else f"{column} {old!r} → {new!r}"
                for column, (old, new) in columns.items()
            ]
            logger.info("Schedule %r is %s in the code. %s", name, kind, ", ".join(shown))

    def _say_once(self, level: int, name: str, text: str, *values: Any) -> None:
        if (name, text % (name, *values)) not in self._said:
            self._said.add((name, text % (name, *values)))
            logger.log(level, text, name, *values)

    def fire(self) -> tuple[int, float | None]:
        """Fire a batch of what is due.

        Returns how many jobs were enqueued, and the seconds until the next tick, None without one.
        """
        due = self.storage.next_tick(self.backend.alias, self.known)
        if due is None or due > 0:
            return 0, due
        written = self.storage.fire(self.backend.alias, self.known, self.decide, self._store, BATCH)
        if not written:
            due = self.storage.next_tick(self.backend.alias, self.known)
            # What is due still, another worker is firing this moment.
            return 0, None if due is None else max(due, 0.05)
        for row, planned in written:
            _log(row, planned)
        jobs = sum(planned.send is not None for _, planned in written)
        return jobs, self.storage.next_tick(self.backend.alias, self.known)

    def decide(self, row: Schedule, now: datetime, has_job: bool) -> Decision | None:
        """What becomes of the ticks of a schedule that are due; None for one that cannot be read here.

        Such a one stays due, for a process of another release, or with other time zones.
        """
        first = now if row.next_at is None else aware(row.next_at)
        try:
            overlap = Overlap(row.overlap)
            found = plan(row.timing, first, now, Missed(row.missed))
        except ValueError as error:
            self._unreadable[row.pk] = time.monotonic() + LEAVE_FOR
            self._say_once(
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
        """A job of a schedule. Raises one of UNUSABLE."""
        if row.origin == Origin.CODE:
            if row.name not in self.declared:
                raise TaskNotRegistered(f"The code of this process has no schedule named {row.name!r}.")
            # By the code of this process, whichever release has written the row.
            declared, task = self.declared[row.name]
            return self.backend.send(task, [declared.arguments])
        return self.backend.send(task_of(row), [row.arguments])

    def _store(self, send: NewJobs) -> None:
        self.backend.store_quietly(self.storage.alias, send)


def first_tick(row: Schedule, after: datetime) -> datetime | None:
    """The first tick of a schedule after a moment. Raises ValueError for one that cannot be read here."""
    return row.timing.next_after(after)


def task_of(row: Schedule) -> Task[..., Any]:
    """The task of a schedule defined in the database, under its options. Raises one of UNUSABLE."""
    task = registry.get(row.task_name)
    refuse_internal(task.name)
    options: dict[str, Any] = {"backend": row.backend}
    if row.queue_name:
        options["queue_name"] = row.queue_name
    if row.priority is not None:
        options["priority"] = row.priority
    return task.using(**options)


def row_of(declared: DeclaredSchedule) -> Schedule:
    """A schedule of the code as a row. Raises UnserializableValue or UnstorableValue."""
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
