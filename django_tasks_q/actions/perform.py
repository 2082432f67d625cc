"""What the verbs have in common: the ids they are given, and who hears of what they did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Model
from django.utils import timezone

from .. import compat
from ..access import database
from ..backends import DatabaseBackend
from ..lifecycle.states import JobStatus
from ..models import Job
from ..signals import action_performed
from ..storage import Storage, Transition, storage_for
from ..validation import one_line
from .done import Done, skipped

#: Of jobs: one or many, as text or not.
Ids = str | UUID | Iterable[str | UUID]


def uuids(ids: Ids) -> list[UUID]:
    """Each id once, in order. Raises ValueError for what is none."""
    return sorted({UUID(str(id)) for id in ([ids] if isinstance(ids, str | UUID) else ids)})


def text(value: str, name: str) -> str:
    """Raises TypeError or ValueError for what is neither empty nor a line of at most 255 characters."""
    return one_line(value, name, maximum=255) if value else ""


def moment(value: datetime | timedelta | None, name: str) -> datetime | None:
    """A time to come, or None for now and what is past. Raises TypeError or ValueError."""
    if value is None:
        return None
    now = timezone.now()
    if isinstance(value, timedelta):
        value = now + value
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime or a timedelta, not {value!r:.100}.")
    if timezone.is_naive(value) is settings.USE_TZ:
        kind = "an aware" if settings.USE_TZ else "a naive"
        raise ValueError(
            f"{name} must be {kind} datetime, since USE_TZ is {'on' if settings.USE_TZ else 'off'}."
        )
    return value if value > now else None


def backend_of(alias: str) -> DatabaseBackend | None:
    """A backend of ours, or None where no TASKS names it any more."""
    try:
        found = compat.task_backends[alias]
    except compat.InvalidTaskBackend:
        return None
    return found if isinstance(found, DatabaseBackend) else None


def notify_jobs(storage: Storage, aliases: Collection[str]) -> None:
    """Have workers look for jobs once the transaction has committed."""
    for alias in aliases:
        backend = backend_of(alias)
        if backend is not None and backend.settings.notify:
            storage.hint(alias)


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
    """Carry out a verb on jobs. Answers what it did, in two forms, and in which database."""
    wanted, alias = uuids(ids), using or database()
    storage = storage_for(alias)
    moved = write(storage, wanted) if wanted else Transition(set(), {}, set())
    if moved.done and makes_ready:
        notify_jobs(storage, moved.backends)
    tell(Job, action, moved.done, using=alias, user=user, reason=reason)
    rest = [id for id in wanted if id not in moved.done]
    return Done(moved.done, skipped(rest, moved.others, start)), moved, alias


def tell(
    sender: type[Model], action: str, ids: Collection[Any], *, using: str, user: Any, reason: str = ""
) -> None:
    """Send ``action_performed`` once the transaction has committed, if something was done."""
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
        transaction.on_commit(send, using=using, robust=True)
