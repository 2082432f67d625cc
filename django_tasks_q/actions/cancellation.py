"""Actions that end jobs: cancel, discard and dismiss."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from ..access import database
from ..execution.task_signals import TaskSignals
from ..lifecycle.states import STARTABLE
from ..models import Job
from ..storage import storage_for
from ..storage.orm.operations import DISMISSIBLE
from .done import CancelDone, Done, skipped
from .perform import Ids, after_commit, backend_of, perform, send_action_performed, text, uuids


def cancel(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> CancelDone:
    """Cancel jobs, in the caller's transaction.

    Jobs that wait are CANCELLED at once. Running jobs are asked to end: a process is interrupted, a coroutine
    is cancelled, and a thread has to check ``cancel_requested``. A job that succeeds before that is
    SUCCESSFUL. Jobs that have ended are skipped.

    ``reason`` is a line of at most 255 characters. ``using`` is the alias of a database, by default of the
    one that holds the jobs of the default backend. ``user`` is passed to receivers of ``action_performed``.
    Raise ValueError for a text that is not an id.
    """
    reason = text(reason, "reason")
    wanted, alias = uuids(ids), using or database()
    storage = storage_for(alias)
    done, requested = storage.jobs.cancel(wanted, reason)
    rows = Job.objects.using(alias).filter(id__in=wanted).values_list("id", "status", "backend")
    found = {id: (status, backend) for id, status, backend in rows}
    for name in sorted({found[id][1] for id in requested if id in found}):
        storage.notifications.notify_cancel(name)
    send_task_finished(alias, {id: found[id][1] for id in done if id in found})
    send_action_performed(Job, "cancel", done | requested, using=alias, user=user, reason=reason)
    others = {id: status for id, (status, _) in found.items()}
    rest = [id for id in wanted if id not in done and id not in requested]
    return CancelDone(done, requested, skipped(rest, others, ()))


def discard(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Cancel jobs that wait, and skip jobs that run. See ``cancel()``."""
    reason = text(reason, "reason")
    done, transition, alias = perform(
        "discard",
        ids,
        lambda storage, ids: storage.jobs.discard(ids, reason),
        STARTABLE,
        using=using,
        user=user,
        reason=reason,
    )
    if transition.done:
        rows = Job.objects.using(alias).filter(id__in=transition.done).values_list("id", "backend")
        send_task_finished(alias, dict(rows))
    return done


def dismiss(ids: Ids, *, reason: str = "", using: str | None = None, user: Any = None) -> Done:
    """Mark jobs that have failed or expired as dealt with, so that lists of failures omit them."""
    return perform(
        "dismiss",
        ids,
        lambda storage, ids: storage.jobs.dismiss(ids),
        DISMISSIBLE,
        using=using,
        user=user,
        reason=text(reason, "reason"),
    )[0]


def send_task_finished(alias: str, ended: dict[UUID, str]) -> None:
    """Send ``task_finished`` after the commit for jobs that have ended, given with the backend of each."""
    for id, name in sorted(ended.items()):
        if (backend := backend_of(name)) is not None:
            finished = TaskSignals(backend, "", alias).ended_by_id
            after_commit(partial(finished, str(id)), alias)
