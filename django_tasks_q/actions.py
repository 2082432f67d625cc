"""What people do to jobs: the same verbs for the admin, the REST API, commands and Python code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from uuid import UUID

from django.db import transaction

from . import _framework as framework
from .backends import DatabaseBackend
from .execution.announcer import Announcer
from .models import Job
from .scope import database
from .storage import Cancelled, storage_for
from .validation import one_line


def cancel(
    ids: str | UUID | Iterable[str | UUID], *, reason: str = "", using: str | None = None
) -> Cancelled:
    """Cancel jobs, in the caller's transaction.

    Those that wait are CANCELLED at once. Running ones are asked to end: a process is interrupted, a
    coroutine is cancelled, a thread has to look. Whatever is written first then stands: a job that
    succeeds in the meantime has succeeded. Jobs that have ended are left alone.

    ``reason`` is up to 255 characters for people to read; ``using`` is the alias of a database, by
    default the one that holds the jobs of the default backend. Raises ValueError for an id that is none.
    """
    if reason:
        one_line(reason, "reason", maximum=255)
    wanted = {UUID(str(id)) for id in ([ids] if isinstance(ids, str | UUID) else ids)}
    alias = using or database()
    storage = storage_for(alias)
    cancelled = storage.cancel(sorted(wanted), reason)
    by_backend: dict[str, list[UUID]] = defaultdict(list)
    for id, backend in Job.objects.using(alias).filter(id__in=wanted).values_list("id", "backend"):
        by_backend[backend].append(id)
    for name, mine in by_backend.items():
        if cancelled.requested.intersection(mine):
            storage.hint_cancel(name)
        if name in framework.task_backends:
            for id in sorted(cancelled.done.intersection(mine)):
                transaction.on_commit(partial(_announce, name, alias, id), using=alias, robust=True)
    return cancelled


def _announce(backend: str, alias: str, id: UUID) -> None:
    """Receivers of ``task_finished`` hear of every job that has ended."""
    known = framework.task_backends[backend]
    if isinstance(known, DatabaseBackend):
        Announcer(known, "", alias).finished_elsewhere(str(id))
