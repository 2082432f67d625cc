"""What a verb leaves must be something that whoever asked for it may still see."""

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
    """Whether a verb may take a job out of the sight of who asks for it."""
    return "queue_name" in NAMED[verb].takes


def refuse_outside(request: HttpRequest, ids: Collection[UUID], using: str) -> None:
    """Raise PermissionDenied if one of the jobs is hidden from the request, as it is stored now.

    To be called in the transaction that has written them, which that takes back.
    """
    if not is_scoped() or not ids:
        return
    seen = scope_jobs(request, Job.objects.using(using)).filter(id__in=ids).values("id").distinct().count()
    if seen < len(set(ids)):
        raise PermissionDenied(_("This would be a job that you may not see."))


def refuse_schedule(request: HttpRequest, row: Schedule, using: str) -> None:
    """Raise PermissionDenied if a stored schedule is hidden from the request, or its jobs would be.

    To be called in the transaction that has written it. Raises what its call cannot be enqueued for.
    """
    if not scope_schedules(request, Schedule.objects.using(using)).filter(pk=row.pk).exists():
        raise PermissionDenied(_("This would be a schedule that you may not see."))
    backend = backend_of(row.backend)
    if not is_scoped() or backend is None:
        return
    with transaction.atomic(using=using):
        # Only a stored job can be asked about. It is gone before anybody else sees it.
        send = backend.send(task_of(row), [row.arguments])
        storage_for(using).enqueue(send)
        refuse_outside(request, [UUID(send.ids[0])], using)
        transaction.set_rollback(True, using=using)
