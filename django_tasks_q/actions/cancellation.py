"""Verbs for jobs that nobody wants any more."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from ..access import database
from ..execution.task_signals import TaskSignals
from ..lifecycle.states import STARTABLE
from ..models import Job
from ..storage import storage_for
from ..storage.orm.operations import DISMISSIBLE
from .done import CancelDone, Done, skipped
from .perform import Ids, backend_of, perform, tell, text, uuids


def cancel(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> CancelDone:
    """Cancel jobs, in the caller's transaction.

    Those that wait are CANCELLED at once. Running ones are asked to end: a process is interrupted, a
    coroutine is cancelled, a thread has to look. Whatever is written first then stands: a job that
    succeeds in the meantime has succeeded. Jobs that have ended are left alone.

    ``reason`` is up to 255 characters for people to read; ``using`` is the alias of a database, by
    default the one that holds the jobs of the default backend; ``user`` is for receivers of
    ``action_performed``. Raises ValueError for an id that is none.
    """
    reason = text(reason, "reason")
    wanted, alias = uuids(ids), using or database()
    storage = storage_for(alias)
    done, requested = storage.cancel(wanted, reason)
    rows = Job.objects.using(alias).filter(id__in=wanted).values_list("id", "status", "backend")
    found = {id: (status, backend) for id, status, backend in rows}
    for name in sorted({found[id][1] for id in requested if id in found}):
        storage.notify_cancel(name)
    announce(alias, {id: found[id][1] for id in done if id in found})
    tell(Job, "cancel", done | requested, using=alias, user=user, reason=reason)
    others = {id: status for id, (status, _) in found.items()}
    rest = [id for id in wanted if id not in done and id not in requested]
    return CancelDone(done, requested, skipped(rest, others, ()))


def discard(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Cancel jobs that wait, and leave running ones alone. See ``cancel()``."""
    reason = text(reason, "reason")
    done, moved, alias = perform(
        "discard",
        ids,
        lambda storage, ids: storage.discard(ids, reason),
        STARTABLE,
        using=using,
        user=user,
        reason=reason,
    )
    if moved.done:
        rows = Job.objects.using(alias).filter(id__in=moved.done).values_list("id", "backend")
        announce(alias, dict(rows))
    return done


def dismiss(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Mark jobs that have failed or expired as dealt with, so that lists of failures leave them out."""
    return perform(
        "dismiss",
        ids,
        lambda storage, ids: storage.dismiss(ids),
        DISMISSIBLE,
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]


def announce(alias: str, ended: dict[UUID, str]) -> None:
    """Receivers of ``task_finished`` hear of every job that has ended; these are given by their backends."""
    for id, name in sorted(ended.items()):
        if (backend := backend_of(name)) is not None:
            finished = TaskSignals(backend, "", alias).finished_by_id
            transaction.on_commit(partial(finished, str(id)), using=alias, robust=True)
