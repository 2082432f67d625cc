"""Checks that the user of a request may still see what an action has written."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from ..access import is_scoped, scope_jobs, scope_schedules
from ..models import Job, Schedule
from ..scheduling.fire import task_of
from ..storage import storage_for
from .perform import backend_of
from .verbs import NAMED


def moves(verb: str) -> bool:
    """Whether an action may move a job to where its user cannot see it."""
    return "queue_name" in NAMED[verb].takes


def refuse_outside(request: HttpRequest, ids: Collection[UUID], using: str) -> None:
    """Raise PermissionDenied if one of the stored jobs is hidden from the request.

    It is called in the transaction that has written the jobs, so that the exception rolls it back.
    """
    if not is_scoped() or not ids:
        return
    seen = scope_jobs(request, Job.objects.using(using)).filter(id__in=ids).values("id").distinct().count()
    if seen < len(set(ids)):
        raise PermissionDenied(_("This would be a job that you may not see."))


def refuse_schedule(request: HttpRequest, row: Schedule, using: str) -> None:
    """Raise PermissionDenied if a stored schedule or its jobs are hidden from the request.

    It is called in the transaction that has written the schedule. Raise what enqueueing its call raises.
    """
    if not scope_schedules(request, Schedule.objects.using(using)).filter(pk=row.pk).exists():
        raise PermissionDenied(_("This would be a schedule that you may not see."))
    backend = backend_of(row.backend)
    if not is_scoped() or backend is None:
        return
    with transaction.atomic(using=using):
        # A scope is a query, so that only a stored job can be checked. The transaction removes it again.
        send = backend.send(task_of(row), [row.arguments])
        storage_for(using).jobs.enqueue(send)
        refuse_outside(request, [UUID(send.ids[0])], using)
        transaction.set_rollback(True, using=using)
