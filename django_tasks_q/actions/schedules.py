"""Verbs for schedules, by their names."""

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
from .perform import backend_of, tell, text

DEFAULT = compat.DEFAULT_TASK_BACKEND_ALIAS


class ScheduleDone(NamedTuple):
    """Whether a verb has changed a schedule, and if not, why; with the job or the time that it was about."""

    done: bool
    reason: Reason | None = None
    job_id: UUID | None = None
    tick: datetime | None = None


def enable_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Have a schedule fire again, from its next time on.

    Raises ValueError for one that this process cannot read.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    news = storage.enable_schedule(backend, name, first_tick)
    return _told(storage, "enable_schedule", backend, name, news, user, reason)


def disable_schedule(
    name: str,
    *,
    by: str = "",
    reason: str = "",
    backend: str = DEFAULT,
    using: str | None = None,
    user: Any = None,
) -> ScheduleDone:
    """Have a schedule fire no more until it is enabled, whatever is restarted or deployed. Its jobs go on."""
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    news = storage.disable_schedule(backend, name, by=text(by, "by"), reason=reason)
    return _told(storage, "disable_schedule", backend, name, news, user, reason)


def skip_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Leave out the next time of a schedule, and no other.

    Raises ValueError for one that this process cannot read.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    tick = storage.skip_tick(backend, name, first_tick, reason=reason)
    if tick is not None:
        return _told(storage, "skip_schedule", backend, name, True, user, reason)._replace(tick=tick)
    known = Schedule.objects.using(storage.alias).filter(backend=backend, name=name).exists()
    return ScheduleDone(False, Reason.ENDED if known else Reason.GONE)


def run_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Enqueue a job of a schedule now, also of one that is disabled. Its times stay as they are.

    Raises TaskNotRegistered where this process does not know its task, or it is gone from the code;
    InvalidTask, TypeError or ValueError for a call that cannot be enqueued.
    """
    reason, storage = text(reason, "reason"), _found(name, backend, using)
    ours = _ours(backend)
    firings = Firings(storage, ours)

    def store(send: NewJobs) -> None:
        ours.store_quietly(storage.alias, send)

    job_id = storage.run_schedule(backend, name, firings.send, store, reason)
    if job_id is None:
        return ScheduleDone(False, Reason.GONE)
    return _told(storage, "run_schedule", backend, name, True, user, reason)._replace(job_id=job_id)


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
    """Make a schedule that is a row, or give the one of that name other values.

    ``args`` and ``kwargs`` are in JSON types, as a job has them. Raises TaskNotRegistered for a task that
    this process does not know, InvalidTask for what the backend refuses, TypeError or ValueError for
    everything else that cannot be used, and for the name of a schedule that the code declares.
    """
    reason, storage = text(reason, "reason"), _storage(backend, using)
    task = registry.get(task_name)
    # There and back, so that what is stored is what the annotations say.
    task.check_arguments(list(args), dict(kwargs or {}))
    encoded_args, encoded_kwargs = task.normalized(list(args), dict(kwargs or {}))
    limit = _ours(backend).settings.max_arguments_bytes
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
    if not storage.save_schedule(row, first_tick):
        raise ValueError(f"The schedule {name!r} is declared in the code, and is changed there.")
    _told(storage, "save_schedule", backend, name, True, user, reason)


def delete_schedule(
    name: str, *, reason: str = "", backend: str = DEFAULT, using: str | None = None, user: Any = None
) -> ScheduleDone:
    """Delete a schedule that is a row, or one that is gone from the code. Its jobs stay.

    Raises ValueError for one that the code declares, which a worker would only make again.
    """
    reason, storage = text(reason, "reason"), _storage(backend, using)
    if storage.delete_schedule(backend, name):
        return _told(storage, "delete_schedule", backend, name, True, user, reason)
    if Schedule.objects.using(storage.alias).filter(backend=backend, name=name).exists():
        raise ValueError(f"The schedule {name!r} is declared in the code: disable it, or remove it there.")
    return ScheduleDone(False, Reason.GONE)


def _told(
    storage: Storage, action: str, backend: str, name: str, news: bool | None, user: Any, reason: str
) -> ScheduleDone:
    """Tell workers and receivers of what was done. Answers what it was."""
    if not news:
        return ScheduleDone(False, Reason.GONE if news is None else Reason.UNCHANGED)
    storage.notify_control(backend)
    tell(Schedule, action, [name], using=storage.alias, user=user, reason=reason)
    return ScheduleDone(True)


def _ours(backend: str) -> DatabaseBackend:
    known = backend_of(backend)
    if known is None:
        raise ValueError(f"TASKS has no backend {backend!r} that stores jobs.")
    return known


def _found(name: str, backend: str, using: str | None) -> Storage:
    """The storage, in which a schedule of this process's code has a row also before a worker has started."""
    storage = _storage(backend, using)
    rows = Schedule.objects.using(storage.alias).filter(backend=backend, name=name)
    if name in schedules and not rows.exists():
        Firings(storage, _ours(backend)).declare_one(name)
    return storage


def _storage(backend: str, using: str | None) -> Storage:
    return storage_for(_ours(backend).database if using is None else using)
