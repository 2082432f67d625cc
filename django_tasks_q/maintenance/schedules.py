"""Enqueues what schedules say, when they say so."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from .._framework import InvalidTask
from ..backends import DatabaseBackend
from ..definition import Task
from ..exceptions import TaskNotRegistered
from ..models import Schedule
from ..models.schedule import Origin, Outcome
from ..registry import refuse_internal, registry
from ..schedules import DeclaredSchedule, schedules
from ..storage import Decision, KnownSchedules, Planned, Send, Storage, aware
from ..timing import Cron, Missed, Overlap, plan

logger = logging.getLogger("django_tasks_q.maintenance")

#: Schedules fired in one transaction.
BATCH = 20
#: Seconds that ticks are kept; of each schedule the latest ones for ever.
KEPT = 7 * 24 * 60 * 60.0

#: Why a schedule's call cannot be enqueued.
UNUSABLE = (TypeError, ValueError, InvalidTask, TaskNotRegistered)


class Firings:
    """Declares the schedules of this process's code, and fires whatever is due of a backend."""

    def __init__(self, storage: Storage, backend: DatabaseBackend) -> None:
        self.storage = storage
        self.backend = backend
        #: Row and task of each schedule of the code.
        self.declared = dict(_usable(schedules.of(backend.alias)))
        self.known = KnownSchedules(list(self.declared), registry.names())

    def declare(self) -> None:
        """Have the table say what the code does. Any number of workers may do it."""
        rows = [row for row, _ in self.declared.values()]
        for name in self.storage.declare(self.backend.alias, rows, first_tick):
            logger.error(
                "The code's schedule %r does not fire: somebody has made another one of that name. Delete "
                "that one, or rename this.",
                name,
            )

    def fire(self) -> tuple[int, float | None]:
        """Fire a batch of what is due.

        Answers how many jobs came of it, and in how many seconds the next tick is due, None without one.
        """
        due = self.storage.next_tick(self.backend.alias, self.known)
        if due is None or due > 0:
            return 0, due
        written = self.storage.fire(self.backend.alias, self.known, self.decide, self._store, BATCH)
        if not written:
            return 0, 0.05  # another worker is firing them this moment
        for row, planned in written:
            _log(row, planned)
        jobs = sum(planned.send is not None for _, planned in written)
        return jobs, self.storage.next_tick(self.backend.alias, self.known)

    def decide(self, row: Schedule, now: datetime, has_job: bool) -> Decision:
        """What becomes of the ticks of a schedule that are due."""
        first = now if row.next_at is None else aware(row.next_at)
        try:
            found = plan(row.timing, first, now, Missed(row.missed))
        except ValueError as error:
            return Decision([Planned(first, Outcome.FAILED, None, str(error))], None)
        firings = [] if found.missed is None else [Planned(found.missed, Outcome.MISSED, None)]
        for tick in found.fire:
            if has_job and row.overlap == Overlap.SKIP:
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

    def send(self, row: Schedule) -> Send:
        """A job of a schedule. Raises one of UNUSABLE."""
        if row.origin == Origin.CODE:
            if row.name not in self.declared:
                raise TaskNotRegistered(f"The code of this process has no schedule named {row.name!r}.")
            # Of its own release, whichever one has written the row.
            declared, task = self.declared[row.name]
            return self.backend.send(task, [declared.arguments])
        return self.backend.send(task_of(row), [row.arguments])

    def _store(self, send: Send) -> None:
        self.backend.store_quietly(self.storage.alias, send)


def first_tick(row: Schedule, after: datetime) -> datetime | None:
    """The first tick of a schedule after a moment. One that cannot be read has none."""
    try:
        return row.timing.next_after(after)
    except ValueError:
        return None


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
