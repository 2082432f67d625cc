"""Actions on jobs that wait: reschedule, run now, and change."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from ..access import database
from ..definition.options import checked
from ..lifecycle.states import STARTABLE, JobStatus
from ..models import Job
from ..storage.orm import operations
from ..storage.orm.operations import MOVABLE
from .done import Done
from .perform import Ids, backend_of, moment, perform, text, uuids


def reschedule(
    ids: Ids, at: datetime | timedelta, *, reason: str = "", using: str | None = None, user: Any = None
) -> Done:
    """Start jobs that wait at another time. A time in the past makes them ready."""
    start = moment(at, "at")
    return perform(
        "reschedule",
        ids,
        lambda storage, ids: storage.jobs.reschedule(ids, start),
        MOVABLE,
        using=using,
        user=user,
        reason=text(reason, "reason"),
        makes_ready=start is None,
    )[0]


def starting_otherwise(at: datetime | timedelta | None = None) -> Q:
    """Return the condition of jobs that ``reschedule()`` has yet to change, or of all without a time."""
    return Q() if at is None else operations.starting_otherwise(moment(at, "at"))


def run_now(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Make jobs ready that are scheduled for a later time or for another attempt."""
    return perform(
        "run_now",
        ids,
        lambda storage, ids: storage.jobs.run_now(ids),
        (JobStatus.SCHEDULED, JobStatus.READY),  # a ready job is unchanged
        using=using,
        user=user,
        reason=text(reason, "reason"),
        makes_ready=True,
    )[0]


def change(
    ids: Ids,
    *,
    priority: int | None = None,
    queue_name: str | None = None,
    reason: str = "",
    using: str | None = None,
    user: Any = None,
) -> Done:
    """Change the priority or the queue of jobs that wait.

    Raise TypeError or ValueError for values that a task cannot have, and if neither is given.
    """
    values = {
        name: value
        for name, value in {"priority": priority, "queue_name": queue_name}.items()
        if value is not None
    }
    if not values:
        raise TypeError("change() needs a priority or a queue_name.")
    checked(values, None)
    alias, wanted = using or database(), uuids(ids)
    if queue_name is not None:
        _check_queue(queue_name, alias, wanted)
    return perform(
        "change",
        wanted,
        lambda storage, ids: storage.jobs.change(ids, **values),
        STARTABLE,
        using=alias,
        user=user,
        reason=text(reason, "reason"),
        makes_ready=True,
    )[0]


def _check_queue(queue_name: str, alias: str, ids: list[Any]) -> None:
    """Raise ValueError if the settings list the queues of a backend and this one is not among them."""
    backends = Job.objects.using(alias).filter(id__in=ids).order_by().values_list("backend", flat=True)
    for name in sorted(set(backends)):
        backend = backend_of(name)
        if backend is not None and backend.queues and queue_name not in backend.queues:
            raise ValueError(f"Queue {queue_name!r} is not in TASKS[{name!r}]['QUEUES'].")
