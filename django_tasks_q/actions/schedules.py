"""Actions on schedules, which are given by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings

from .. import compat
from ..backends import DatabaseBackend
from ..definition.registry import registry
from ..models import Schedule
from ..models.schedule import Kind, Origin
from ..payload import codec
from ..scheduling.declare import schedule_name, schedules
from ..scheduling.fire import Firings, first_tick, task_of
from ..storage import NewJobs, Storage, storage_for
from ..timing import Cron, Missed, Overlap, timing_of
from ..validation import one_line
from .done import Reason
from .perform import backend_of, send_action_performed, text

DEFAULT = compat.DEFAULT_TASK_BACKEND_ALIAS


class ScheduleDone(NamedTuple):
    """Whether an action has changed a schedule, or the reason why not.

    ``job_id`` is the job that ``run_schedule()`` has enqueued, ``tick`` the time that ``skip_schedule()``
    skips.
    """

    done: bool
    reason: Reason | None = None
    job_id: UUID | None = None
    tick: datetime | None = None


def enable_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Enable a schedule: it fires again from its next time on.

    Raise ValueError if this process cannot read the schedule.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    changed = storage.schedules.enable(backend, name, first_tick)
    return _done(storage, "enable_schedule", backend, name, changed, user, reason)


def disable_schedule(
    name: str,
    *,
    by: str = "",
    reason: str = "",
    backend: str = DEFAULT,
    using: str | None = None,
    user: Any = None,
) -> ScheduleDone:
    """Disable a schedule until it is enabled again. Restarts and deployments do not enable it.

    Jobs that it has enqueued are not changed.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    changed = storage.schedules.disable(backend, name, by=text(by, "by"), reason=reason)
    return _done(storage, "disable_schedule", backend, name, changed, user, reason)


def skip_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Skip the next time of a schedule, and no other.

    Raise ValueError if this process cannot read the schedule.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    tick = storage.schedules.skip_tick(backend, name, first_tick, reason=reason)
    if tick is not None:
        return _done(storage, "skip_schedule", backend, name, True, user, reason)._replace(tick=tick)
    known = Schedule.objects.using(storage.alias).filter(backend=backend, name=name).exists()
    return ScheduleDone(False, Reason.ENDED if known else Reason.GONE)


def run_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Enqueue a job of a schedule now, also if it is disabled. Its next times do not change.

    Raise TaskNotRegistered if this process does not know its task or the schedule has been removed from the
    code, and InvalidTask, TypeError or ValueError for a call that cannot be enqueued.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    ours = _database_backend(backend)
    firings = Firings(storage, ours)

    def store(send: NewJobs) -> None:
        ours.store_quietly(storage.alias, send)

    job_id = storage.schedules.run(backend, name, firings.send, store, reason)
    if job_id is None:
        return ScheduleDone(False, Reason.GONE)
    return _done(storage, "run_schedule", backend, name, True, user, reason)._replace(job_id=job_id)


def save_schedule(
    name: str,
    task_name: str,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    cron: str | None = None,
    every: float | timedelta | None = None,
    timezone: str | None = None,
    missed: str = "one",
    overlap: str = "allow",
    queue_name: str | None = None,
    priority: int | None = None,
    reason: str = "",
    backend: str = DEFAULT,
    using: str | None = None,
    user: Any = None,
) -> None:
    """Create a schedule in the database, or replace the one of that name.

    ``args`` and ``kwargs`` are in JSON types, as in the table of jobs. Raise TaskNotRegistered for a task
    that this process does not know, InvalidTask for what the backend refuses, and TypeError or ValueError for
    any other value that cannot be used and for the name of a schedule that the code declares.
    """
    reason, storage = text(reason, "reason"), _storage(backend, using)
    task = registry.get(task_name)
    # Decoded and encoded again, so that what is stored matches the annotations.
    task.check_arguments(list(args), dict(kwargs or {}))
    encoded_args, encoded_kwargs = task.normalized(list(args), dict(kwargs or {}))
    limit = _database_backend(backend).settings.max_arguments_bytes
    timing = timing_of(cron=cron, every=every, timezone=timezone or settings.TIME_ZONE)
    row = Schedule(
        backend=backend,
        name=schedule_name(name),
        origin=Origin.DATABASE,
        task_name=task.name,
        arguments=codec.dump_arguments(encoded_args, encoded_kwargs, limit),
        queue_name=queue_name or "",
        priority=priority,
        kind=Kind.CRON if isinstance(timing, Cron) else Kind.EVERY,
        expression=one_line(str(timing), "cron", maximum=255),
        timezone=timing.timezone,
        missed=Missed.of(missed),
        overlap=Overlap.of(overlap),
    )
    task_of(row)
    if not storage.schedules.save(row, first_tick):
        raise ValueError(f"The schedule {name!r} is declared in the code, and is changed there.")
    _done(storage, "save_schedule", backend, name, True, user, reason)


def delete_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Delete a schedule of the database, or one that has been removed from the code. Its jobs are kept.

    Raise ValueError for a schedule that the code declares, since a worker would create it again.
    """
    reason, storage = text(reason, "reason"), _storage(backend, using)
    if storage.schedules.delete(backend, name):
        return _done(storage, "delete_schedule", backend, name, True, user, reason)
    if Schedule.objects.using(storage.alias).filter(backend=backend, name=name).exists():
        raise ValueError(f"The schedule {name!r} is declared in the code: disable it, or remove it there.")
    return ScheduleDone(False, Reason.GONE)


def _done(
    storage: Storage, action: str, backend: str, name: str, changed: bool | None, user: Any, reason: str
) -> ScheduleDone:
    """Notify workers and receivers of an action, and return what it has done."""
    if not changed:
        return ScheduleDone(False, Reason.GONE if changed is None else Reason.UNCHANGED)
    storage.notifications.notify_control(backend)
    send_action_performed(Schedule, action, [name], using=storage.alias, user=user, reason=reason)
    return ScheduleDone(True)


def _database_backend(backend: str) -> DatabaseBackend:
    known = backend_of(backend)
    if known is None:
        raise ValueError(f"TASKS has no backend {backend!r} that stores jobs.")
    return known


def _found(name: str, backend: str, using: str | None) -> Storage:
    """Return the storage, after storing a schedule that the code declares and no worker has stored yet."""
    storage = _storage(backend, using)
    rows = Schedule.objects.using(storage.alias).filter(backend=backend, name=name)
    if name in schedules and not rows.exists():
        Firings(storage, _database_backend(backend)).declare_one(name)
    return storage


def _storage(backend: str, using: str | None) -> Storage:
    return storage_for(_database_backend(backend).database if using is None else using)
