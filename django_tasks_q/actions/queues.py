"""Actions on queues: pause, resume and limit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from .. import compat
from ..access import database
from ..definition.options import MAX_QUEUE_NAME
from ..models import Queue
from ..storage import storage_for
from ..validation import one_line, whole
from .perform import backend_of, moment, send_action_performed, text


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
    """Pause a queue: workers claim none of its jobs. Return whether it was not paused before.

    ``until`` ends the pause at a time. Jobs that run continue. Workers are notified at once where the
    database supports that, else they notice within ten seconds.
    """
    end = moment(until, "until")
    if until is not None and end is None:
        raise ValueError("until must be a time in the future.")
    name, alias = _name(queue), _alias(backend, using)
    storage = storage_for(alias)
    done = storage.queues.pause(backend, name, by=text(by, "by"), reason=text(reason, "reason"), until=end)
    storage.notifications.notify_control(backend)
    send_action_performed(Queue, "pause", [name], using=alias, user=user, reason=reason)
    return done


def resume(
    queue: str,
    *,
    reason: str = "",
    backend: str = compat.DEFAULT_TASK_BACKEND_ALIAS,
    using: str | None = None,
    user: Any = None,
) -> bool:
    """Resume a queue: workers claim its jobs again. Return whether it was paused."""
    name, alias = _name(queue), _alias(backend, using)
    storage = storage_for(alias)
    done = storage.queues.resume(backend, name)
    if done:
        storage.notifications.notify_control(backend)
        send_action_performed(Queue, "resume", [name], using=alias, user=user, reason=text(reason, "reason"))
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
    """Limit how many jobs of a queue run at a time, over all workers. None removes the limit.

    Return whether the limit has changed. Jobs that run continue, also beyond a new limit. Raise TypeError or
    ValueError for a number below 1: pause a queue to run none of its jobs.
    """
    if max_running is not None:
        whole(max_running, "max_running", minimum=1)
    name, alias = _name(queue), _alias(backend, using)
    storage = storage_for(alias)
    done = storage.queues.limit(backend, name, max_running)
    if done:
        storage.notifications.notify_control(backend)
        send_action_performed(Queue, "limit", [name], using=alias, user=user, reason=text(reason, "reason"))
    return done


def _name(queue: str) -> str:
    return one_line(queue, "queue", maximum=MAX_QUEUE_NAME)


def _alias(backend: str, using: str | None) -> str:
    """Return the alias of the database that has the queues of a backend."""
    if using is not None:
        return using
    known = backend_of(backend)
    return database() if known is None else known.database
