"""The package's own tasks: verbs on more jobs than one request can change."""

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
#: Jobs that are changed by one transaction.
SLICE = 500
#: Before all that waits, which it may be about.
PRIORITY = 100
#: Where the report of what was done so far is kept in the job's metadata.
KEPT = "bulk"


def can_bulk(request: HttpRequest) -> bool:
    """Return whether what a request asks for can be done later, in its user's name."""
    return not obstacle(request)


def obstacle(request: HttpRequest) -> str:
    """Return why what a request asks for cannot be done later; empty where it can."""
    if home() is None or BULK not in registry:
        return _("There is no backend whose workers could do this.")
    user: Any = request.user
    if not isinstance(user, get_user_model()) or user.pk is None:
        return _("Only for users that are known to the database.")
    if not is_users_own(request):
        return _("Which jobs you may see depends on more than who you are: do this in smaller steps.")
    return ""


def ask(request: HttpRequest, verb: str, selection: Selection, **values: Any) -> TaskResult[..., Any]:
    """Enqueue a verb on all jobs that match now and that the user may see, in the caller's transaction.

    The door has checked the permission, and ``values`` are what the verb takes. Raises TypeError or
    ValueError for those that it cannot take, and for a request whose work cannot be done later.
    """
    backend, named = home(), NAMED[verb]
    if problem := obstacle(request):
        raise ValueError(problem)
    assert backend is not None  # noqa: S101 - that would be an obstacle
    named.function([], using=backend.database, **values)
    user = str(request.user.pk)
    sent = registry.get(BULK).using(backend=backend.alias, **_queue(backend), tags=[verb, f"user:{user}"])
    wanted = {"verb": verb, "selection": selection.until_now(), bulk_requests.USER: user, **values}
    sent.check_arguments((), wanted)
    encoded = sent.encoded((), wanted)[1]
    return backend.enqueue_internal(sent, lambda id: bulk_requests.signed(id, encoded))


def _queue(backend: DatabaseBackend) -> dict[str, Any]:
    """Return the first queue by name where the settings lack the default one, else none."""
    if not backend.queues or compat.DEFAULT_TASK_QUEUE_NAME in backend.queues:
        return {}
    return {"queue_name": min(backend.queues)}


def _declare(function: Any) -> Any:
    """Return a task, where there is a backend of ours: others may refuse it, or never run it."""
    try:
        backend = home()
    except compat.InvalidTaskBackend:  # a check says so
        return function
    if backend is None:
        return function
    return task(
        backend=backend.alias,
        **_queue(backend),
        takes_context=True,
        priority=PRIORITY,
        executor="process",
        # What was done is not done again: each attempt goes on behind the last slice.
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
    """Apply a verb to all jobs that matched when it was requested."""
    if not bulk_requests.is_signed(context.job_id, context.job.kwargs):
        # The author of a copy or an edit may have other rights than the user it names.
        raise PermissionDenied(
            "This job is a copy or was edited, so it does nothing. Make the bulk request again."
        )
    named = NAMED[verb]
    person = _person(user, named.codename)
    given = {"at": at, "priority": priority, "queue_name": queue_name}
    values = {name: given[name] for name in named.takes if given[name] is not None}
    alias = context.job._state.db or ""
    jobs = scope_jobs(request_of(person), Job.objects.using(alias)).exclude(id=context.job.id)
    report = Report.restored(context.metadata.get(KEPT))
    walk = actions.Walk(selection, jobs, report.position)
    total = report.seen + walk.count()
    context.set_progress(report.seen, total, report.told())
    while not walk.is_over:
        ids = walk.ids(SLICE)
        if not ids:  # nothing here, and more to look at
            context.sleep(0)
            continue
        with storage_for(alias).transaction():
            done = named.function(ids, using=alias, user=person, reason=reason, **values)
            if access.moves(verb):
                access.refuse_outside(request_of(person), done.done, alias)
            report.add(done)
            report.position = walk.stored()
            context.metadata[KEPT] = report.stored()
            _record(context, person, f"{named.label}: {report.told()}.", reason)
            # Raises if another attempt has the job, and takes this slice back.
            context.save_metadata()
        context.set_progress(report.seen, total, report.told())
        context.sleep(0)  # raises if the job was cancelled
    return report.numbers


def _person(key: str, codename: str) -> Any:
    """Return the user of a bulk request. Raises PermissionDenied for one who may not make it any more."""
    model = get_user_model()
    found: Any = model._default_manager.filter(pk=key).first()
    needed = [f"django_tasks_q.{each}" for each in ("view_job", codename)]
    if found is None or not found.is_active or not found.has_perms(needed):
        raise PermissionDenied(f"The user {key} who made this bulk request may not make it any more.")
    return found


def _record(context: TaskContext, person: Any, summary: str, reason: str) -> None:
    """Write one entry to the admin's log, and update it after every slice."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.contenttypes.models import ContentType

    message = " ".join(filter(None, [summary, reason]))
    known = context.metadata.get("entry")
    if known and LogEntry.objects.filter(pk=known).update(change_message=message):
        return
    entry = LogEntry.objects.create(
        user_id=person.pk,
        content_type_id=ContentType.objects.get_for_model(Job).pk,
        object_id=context.job_id,
        object_repr=str(context.job)[:200],
        action_flag=CHANGE,
        change_message=message,
    )
    context.metadata["entry"] = entry.pk
