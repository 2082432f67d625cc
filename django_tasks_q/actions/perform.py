"""What the actions have in common: their arguments, and notifications after the commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.db.models import Model
from django.utils import timezone

from .. import compat
from ..access import database
from ..backends import DatabaseBackend
from ..definition.options import without_zone
from ..lifecycle.states import JobStatus
from ..models import Job
from ..signals import action_performed
from ..storage import Storage, Transition, storage_for
from ..storage.session import is_managed_by_hand
from ..validation import one_line
from .done import Done, skipped

logger = logging.getLogger("django_tasks_q.actions")

#: The id of one job, or the ids of many.
Ids = str | UUID | Iterable[str | UUID]


def uuids(ids: Ids) -> list[UUID]:
    """Return each id once, in order. Raise ValueError for a text that is not an id."""
    return sorted({UUID(str(id)) for id in ([ids] if isinstance(ids, str | UUID) else ids)})


def text(value: str, name: str) -> str:
    """Return an empty text or a line of at most 255 characters, else raise TypeError or ValueError."""
    return one_line(value, name, maximum=255) if value else ""


def moment(value: datetime | timedelta | None, name: str) -> datetime | None:
    """Return a time in the future, or None for the present and the past.

    Raise TypeError or ValueError for any other value.
    """
    if value is None:
        return None
    now = timezone.now()
    if isinstance(value, timedelta):
        value = now + value
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime or a timedelta, not {value!r:.100}.")
    if settings.USE_TZ and timezone.is_naive(value):
        raise ValueError(f"{name} must be an aware datetime, since USE_TZ is on.")
    value = without_zone(value)
    return value if value > now else None


def backend_of(alias: str) -> DatabaseBackend | None:
    """Return the DatabaseBackend of that alias, or None if TASKS does not have it any more."""
    try:
        found = compat.task_backends[alias]
    except compat.InvalidTaskBackend:
        return None
    return found if isinstance(found, DatabaseBackend) else None


def notify_jobs(storage: Storage, aliases: Collection[str]) -> None:
    """Notify the workers of these backends of jobs that are ready, after the commit."""
    for alias in aliases:
        backend = backend_of(alias)
        if backend is not None and backend.settings.notify:
            storage.notifications.notify_jobs(alias)


def perform(
    action: str,
    ids: Ids,
    write: Callable[[Storage, list[UUID]], Transition],
    start: Collection[JobStatus],
    *,
    using: str | None,
    user: Any,
    reason: str = "",
    makes_ready: bool = False,
) -> tuple[Done, Transition, str]:
    """Perform an action on jobs.

    ``write`` changes rows and returns a Transition. Return what was done, that Transition, and the alias of
    the database.
    """
    wanted, alias = uuids(ids), using or database()
    storage = storage_for(alias)
    transition = write(storage, wanted) if wanted else Transition(set(), {}, set())
    if transition.done and makes_ready:
        notify_jobs(storage, transition.backends)
    send_action_performed(Job, action, transition.done, using=alias, user=user, reason=reason)
    rest = [id for id in wanted if id not in transition.done]
    return Done(transition.done, skipped(rest, transition.others, start)), transition, alias


def send_action_performed(
    sender: type[Model], action: str, ids: Collection[Any], *, using: str, user: Any, reason: str = ""
) -> None:
    """Send ``action_performed`` after the commit, unless ``ids`` is empty."""
    if ids:
        send = partial(
            action_performed.send_robust,
            sender,
            action=action,
            ids=sorted(ids),
            user=user,
            reason=reason,
            using=using,
        )
        after_commit(send, using)


def after_commit(function: Callable[[], Any], using: str) -> None:
    """Call a function after the caller's transaction has committed. An exception that it raises is logged.

    Django has no such hook where a project commits by itself: the function is called at once there.
    """
    if not is_managed_by_hand(connections[using]):
        transaction.on_commit(function, using=using, robust=True)
        return
    try:
        function()
    except Exception:
        logger.exception("A function that follows an action has raised an exception.")
