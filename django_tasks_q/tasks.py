"""The task of the package itself: actions on more jobs than a request can wait for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest
from django.utils.translation import gettext as _

from . import actions, compat
from .access import backend as home
from .access import is_users_own, request_of, scope_jobs
from .actions import NAMED, Report, Selection, access, bulk_requests
from .backends import DatabaseBackend
from .definition.decorator import task
from .definition.registry import registry
from .definition.result import TaskResult
from .models import Job
from .storage import storage_for

if TYPE_CHECKING:
    from .execution.context import TaskContext

BULK = "django_tasks_q.tasks.bulk"
#: How many jobs one transaction changes.
SLICE = 500
#: Before all other jobs, since those may be the ones to act on.
PRIORITY = 100
#: The key of the report in the metadata of the job.
REPORT_KEY = "bulk"


def can_bulk(request: HttpRequest) -> bool:
    """Return whether a job can act in the name of the user of a request."""
    return not obstacle(request)


def obstacle(request: HttpRequest) -> str:
    """Return why a job cannot act in the name of the user of a request, or an empty string if it can."""
    if home() is None or BULK not in registry:
        return _("There is no backend whose workers could do this.")
    user: Any = request.user
    if not isinstance(user, get_user_model()) or user.pk is None:
        return _("Only for users in the database.")
    if not is_users_own(request):
        return _("Which jobs you may see depends on more than who you are: do this in smaller steps.")
    return ""


def enqueue_bulk(
    request: HttpRequest, verb: str, selection: Selection, **values: Any
) -> TaskResult[..., Any]:
    """Enqueue a job that does an action on all jobs that match now and that the user may see.

    The caller has checked the permission. ``values`` are the arguments of the action. The job is enqueued in
    the transaction of the caller. Raise TypeError or ValueError for wrong arguments, and ValueError if a job
    cannot act in the name of the user.
    """
    backend, named = home(), NAMED[verb]
    if problem := obstacle(request):
        raise ValueError(problem)
    assert backend is not None  # noqa: S101 - None would be an obstacle
    named.function([], using=backend.database, **values)
    user = str(request.user.pk)
    bulk_task = registry.get(BULK).using(
        backend=backend.alias, **_queue(backend), tags=[verb, f"user:{user}"]
    )
    arguments = {"verb": verb, "selection": selection.until_now(), bulk_requests.USER: user, **values}
    bulk_task.check_arguments((), arguments)
    encoded = bulk_task.encoded((), arguments)[1]
    return backend.enqueue_internal(bulk_task, lambda id: bulk_requests.signed(id, encoded))


def _queue(backend: DatabaseBackend) -> dict[str, Any]:
    """Return the first queue by name if the settings omit the default queue, else none: routes may apply."""
    if not backend.queues or compat.DEFAULT_TASK_QUEUE_NAME in backend.queues:
        return {}
    return {"queue_name": min(backend.queues)}


def _declare(function: Any) -> Any:
    """Declare the task if there is a DatabaseBackend. Other backends may refuse it, or never run it."""
    try:
        backend = home()
    except compat.InvalidTaskBackend:  # reported by a check
        return function
    if backend is None:
        return function
    return task(
        backend=backend.alias,
        **_queue(backend),
        takes_context=True,
        priority=PRIORITY,
        executor="process",
        # Nothing is done twice: each attempt continues after the last slice.
        max_attempts=5,
        retry_on=[OperationalError, InterfaceError],
        timeout=timedelta(hours=12),
        store_result=True,
        tags=["bulk"],
    )(function)


@_declare
def bulk(
    context: TaskContext,
    *,
    verb: str,
    selection: Selection,
    user: str,
    at: datetime | None = None,
    priority: int | None = None,
    queue_name: str | None = None,
    reason: str = "",
    signature: str = "",
) -> dict[str, Any]:
    """Do an action on all jobs that matched at the time of the request."""
    if not bulk_requests.is_signed(context.job_id, context.job.kwargs):
        # Its author may have fewer permissions than the user that it names.
        raise PermissionDenied(
            "These are not the arguments of the request: copied or edited jobs do nothing. Repeat it."
        )
    named = NAMED[verb]
    actor = _user(user, named.codename)
    given = {"at": at, "priority": priority, "queue_name": queue_name}
    values = {name: given[name] for name in named.takes if given[name] is not None}
    alias = context.job._state.db or ""
    jobs = scope_jobs(request_of(actor), Job.objects.using(alias)).exclude(id=context.job.id)
    jobs = named.pending(jobs, **values)
    report = Report.restored(context.metadata.get(REPORT_KEY))
    walk = actions.Walk(selection, jobs, report.position)
    total = report.seen + walk.count()
    context.set_progress(report.seen, total, report.summary())
    while not walk.is_over:
        ids = walk.ids(SLICE)
        if not ids:  # an empty slice, with others after it
            context.sleep(0)
            continue
        with storage_for(alias).session.transaction():
            done = named.function(ids, using=alias, user=actor, reason=reason, **values)
            if access.moves(verb):
                access.refuse_outside(request_of(actor), done.done, alias)
            report.add(done)
            report.position = walk.stored()
            context.metadata[REPORT_KEY] = report.stored()
            _record(context, actor, f"{named.label}: {report.summary()}.", reason)
            # Raise if another attempt has the job, which rolls this slice back.
            context.save_metadata()
        context.set_progress(report.seen, total, report.summary())
        context.sleep(0)  # raises if the job was cancelled
    return report.numbers


def _user(key: str, codename: str) -> Any:
    """Return the user of the request. Raise PermissionDenied if they lack the permissions now."""
    model = get_user_model()
    found: Any = model._default_manager.filter(pk=key).first()
    needed = [f"django_tasks_q.{each}" for each in ("view_job", codename)]
    if found is None or not found.is_active or not found.has_perms(needed):
        raise PermissionDenied("The user who requested this no longer has the permission.")
    return found


def _record(context: TaskContext, user: Any, text: str, reason: str) -> None:
    """Add one entry to the log of the admin, and update it with every slice."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.contenttypes.models import ContentType

    message = " ".join(filter(None, [text, reason]))
    entry_id = context.metadata.get("entry")
    if entry_id and LogEntry.objects.filter(pk=entry_id).update(change_message=message):
        return
    entry = LogEntry.objects.create(
        user_id=user.pk,
        content_type_id=ContentType.objects.get_for_model(Job).pk,
        object_id=context.job_id,
        object_repr=str(context.job)[:200],
        action_flag=CHANGE,
        change_message=message,
    )
    context.metadata["entry"] = entry.pk
