"""Verbs for queues."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from .. import compat
from ..access import database
from ..definition.options import MAX_QUEUE_NAME
from ..models import Queue
from ..storage import storage_for
from ..validation import one_line, whole
from .perform import backend_of, moment, tell, text


def pause(
    queue: str,
    *,
    by: str = "",
    reason: str = "",
    until: datetime | timedelta | None = None,
    backend: str = compat.DEFAULT_TASK_BACKEND_ALIAS,
    using: str | None = None,
    user: Any = None,
) -> bool:
    """Have workers claim nothing from a queue, for good or ``until`` a time. Answers whether that is news.

    What runs goes on. A worker knows at once by a hint, else within ten seconds.
    """
    end = moment(until, "until")
    if until is not None and end is None:
        raise ValueError("until must be a time to come.")
    name, alias = _name(queue), _alias(backend, using)
    storage = storage_for(alias)
    done = storage.pause(backend, name, by=text(by, "by"), reason=text(reason, "reason"), until=end)
    storage.notify_control(backend)
    tell(Queue, "pause", [name], using=alias, user=user, reason=reason)
    return done


def resume(
    queue: str,
    *,
    reason: str = "",
    backend: str = compat.DEFAULT_TASK_BACKEND_ALIAS,
    using: str | None = None,
    user: Any = None,
) -> bool:
    """Have workers claim from a queue again. Answers whether it was paused."""
    name, alias = _name(queue), _alias(backend, using)
    storage = storage_for(alias)
    done = storage.resume(backend, name)
    if done:
        storage.notify_control(backend)
        tell(Queue, "resume", [name], using=alias, user=user, reason=text(reason, "reason"))
    return done


def limit(
    queue: str,
    max_running: int | None,
    *,
    reason: str = "",
    backend: str = compat.DEFAULT_TASK_BACKEND_ALIAS,
    using: str | None = None,
    user: Any = None,
) -> bool:
    """Let at most so many of a queue's jobs run at a time, over all workers; None for any number.

    Answers whether that is news. What runs goes on, even if it is too much. Raises TypeError or ValueError
    for a number below 1: a queue of which nothing is to run is paused.
    """
    if max_running is not None:
        whole(max_running, "max_running", minimum=1)
    name, alias = _name(queue), _alias(backend, using)
    storage = storage_for(alias)
    done = storage.limit(backend, name, max_running)
    if done:
        storage.notify_control(backend)
        tell(Queue, "limit", [name], using=alias, user=user, reason=text(reason, "reason"))
    return done


def _name(queue: str) -> str:
    return one_line(queue, "queue", maximum=MAX_QUEUE_NAME)


def _alias(backend: str, using: str | None) -> str:
    """The database in which a backend's queues are."""
    if using is not None:
        return using
    known = backend_of(backend)
    return database() if known is None else known.database
