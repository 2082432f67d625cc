"""The form that enqueues a new job from an old one, with the same or other arguments."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from .. import actions, compat
from ..access import database
from ..actions import access
from ..definition.registry import registry
from ..exceptions import TaskNotRegistered
from ..models import Job
from ..payload.masking import MASK
from . import audit, formatting
from .base import redirect_with_message, require, url
from .enqueue_form import can_enqueue
from .forms import form_of
from .payload import Payload

FIELDS = ("args", "kwargs", "reason")


def run_again(admin: Any, request: HttpRequest, id: str) -> HttpResponse:
    """Show the form, or enqueue the new job."""
    require(request, "add_job")
    require(request, "view_payload_job")
    job = admin.get_object(request, id)
    if job is None:
        return redirect_with_message(
            request, _("No job has this id. It may have been deleted."), url("job_changelist")
        )
    shown = Payload.of(job.task_name, job.arguments)
    initial = {"args": shown.args, "kwargs": shown.kwargs}
    may_change = job.task_name in registry and can_enqueue(request, registry.get(job.task_name))
    form = form_of(FIELDS, request.POST if request.method == "POST" else None, initial)
    for name in ("args", "kwargs"):
        form.fields[name].required = False
        if not may_change:
            form.fields[name].widget.attrs["readonly"] = True
        if request.method != "POST":
            form.initial[name] = initial[name]
    if request.method == "POST" and form.is_valid():
        new = _enqueue(request, job, form, shown)
        if new is not None:
            return HttpResponseRedirect(url("job_change", new))
    context = {
        "job": job,
        "form": form,
        "back": url("job_change", job.pk),
        "has_secrets": MASK in formatting.pretty([shown.args, shown.kwargs]),
        "mask": MASK,
    }
    response: HttpResponse = admin.page(
        request, "again", _("New job from this one"), context, status=400 if form.errors else 200
    )
    return response


def _enqueue(request: HttpRequest, job: Job, form: Any, shown: Payload) -> UUID | None:
    values = form.cleaned_data
    args = [] if values["args"] is None else values["args"]
    kwargs = {} if values["kwargs"] is None else values["kwargs"]
    if not isinstance(args, list):
        form.add_error("args", _("This must be a list, such as [1, 2]."))
    if not isinstance(kwargs, dict):
        form.add_error("kwargs", _('This must be an object, such as {"name": 1}.'))
    if form.errors:
        return None
    changed: dict[str, Any] = {}
    if args != shown.args or kwargs != shown.kwargs:
        changed = {"args": args, "kwargs": kwargs}
        task = registry.get(job.task_name) if job.task_name in registry else None
        if task is not None and not can_enqueue(request, task):
            # With other arguments this is an ordinary enqueue, which needs its permission.
            form.add_error(None, _("You may not enqueue this task with other arguments."))
            return None
        if is_masked([args, kwargs]):
            form.add_error(None, _(REFUSED))
            return None
    try:
        with transaction.atomic(using=database()):
            done = actions.run_again(job.pk, user=request.user, reason=values["reason"] or "", **changed)
            if done.result is None:
                raise ValueError(_("The job no longer exists."))
            new = UUID(str(done.result.id))
            access.refuse_outside(request, [new], database())
            audit.record(
                request,
                Job,
                [(job.pk, str(job)), (new, f"{job.task_name} ({new})")],
                ". ".join(filter(None, [str(_("New job from this one")), str(new), values["reason"]])),
            )
    except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
        form.add_error(None, str(error))
        return None
    messages.success(request, _("A new job was enqueued."))
    return new


#: A stored secret could otherwise be sent to a recipient that the new arguments name.
REFUSED = gettext_noop(
    "Secrets are kept only if no argument is changed. Enter them again, or leave all arguments unchanged."
)


def is_masked(value: Any) -> bool:
    """Return whether a JSON value contains the mask that replaces secrets."""
    match value:
        case dict():
            return any(is_masked(item) for item in value.values())
        case list():
            return any(is_masked(item) for item in value)
    return bool(value == MASK)
