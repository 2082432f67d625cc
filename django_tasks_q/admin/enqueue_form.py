"""The form that enqueues a task, for tasks with ``admin=True``."""

from __future__ import annotations

import inspect
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from .. import compat
from ..access import database
from ..backends import DatabaseBackend
from ..definition.registry import is_internal, registry
from ..definition.sensitive import secrets_of
from ..definition.task import Task
from ..exceptions import UnserializableValue
from ..models import Job
from ..monitoring.descriptions import described
from ..payload.masking import redacted
from ..payload.schema import ArgumentErrors, bound
from . import audit
from .base import jobs_of, may, require, url
from .form_fields import Input, inputs_of
from .forms import form_of

OPTIONS = ("queue_name", "priority", "at")


def can_enqueue(request: HttpRequest, task: Task[..., Any]) -> bool:
    """Return whether the user may use the form of a task.

    The jobs of the task have to go to the database that the admin shows.
    """
    if not task.admin or is_internal(task.name) or not may(request, "enqueue_job"):
        return False
    backend = compat.task_backends[task.backend]
    return isinstance(backend, DatabaseBackend) and backend.database == database()


def enqueue_view(admin: Any, request: HttpRequest) -> HttpResponse:
    """Show the form of the task that the query names, or enqueue the job."""
    require(request, "view_job")
    require(request, "enqueue_job")
    name = request.GET.get("task", "")
    task = registry.get(name) if name in registry else None
    if task is None or not can_enqueue(request, task):
        raise Http404
    inputs = inputs_of(task)
    form = _form(request, task, inputs)
    if request.method == "POST" and form.is_valid() and (id := _enqueue(request, task, inputs, form)):
        messages.success(request, _("A new job was enqueued."))
        return HttpResponseRedirect(url("job_change", id))
    context = {
        # Not the task itself: a template would call it.
        "name": task.name,
        "description": task.description,
        "form": form,
        "arguments": [form[each.html_name] for each in inputs],
        "options": [form[name] for name in OPTIONS],
        "options_open": any(name in form.errors for name in OPTIONS),
        "has_secrets": any(each.is_secret for each in inputs),
    }
    response: HttpResponse = admin.page(
        request, "enqueue", _("Enqueue"), context, status=400 if form.errors else 200
    )
    return response


def _form(request: HttpRequest, task: Task[..., Any], inputs: list[Input]) -> forms.Form:
    facts = described(task)
    initial = {"queue_name": facts["queue_name"], "priority": facts["priority"]}
    form = form_of(OPTIONS, request.POST if request.method == "POST" else None, initial)
    for each in inputs:
        form.fields[each.html_name] = each.spec.field
    return form


def _enqueue(request: HttpRequest, task: Task[..., Any], inputs: list[Input], form: forms.Form) -> str | None:
    """Return the id of the new job, or add an error to the form and return None."""
    call = _arguments(task, inputs, form)
    prepared = _with_options(task, form)
    if call is None or prepared is None:
        return None
    args, kwargs = call
    try:
        with transaction.atomic(using=database()):
            id = str(prepared.enqueue(*args, **kwargs).id)
            if not jobs_of(request).filter(pk=id).exists():
                raise ValueError(_("This would be a job that you may not see."))
            audit.record(request, Job, [(id, f"{task.name} ({id})")], str(_("Enqueue")), ADDITION)
    except (TypeError, UnserializableValue, ValueError, compat.InvalidTask) as error:
        form.add_error(None, redacted(str(error), secrets_of(task.name, args, kwargs)))
        return None
    return id


def _arguments(
    task: Task[..., Any], inputs: list[Input], form: forms.Form
) -> tuple[list[Any], dict[str, Any]] | None:
    """Return the arguments of ``enqueue()``, or add errors to the fields and return None."""
    given: dict[str, Any] = {}
    fields = {each.name: each for each in inputs}
    rest = next((each for each in inputs if each.kind == inspect.Parameter.VAR_KEYWORD), None)
    for each in inputs:
        values = each.argument(form)
        if each is rest and values:
            (others,) = values.values()
            if not isinstance(others, dict):
                form.add_error(each.html_name, _('This must be an object, such as {"name": 1}.'))
                return None
            values = {key: value for key, value in others.items() if key not in fields}
            if twice := others.keys() & fields.keys():
                problem = _("Use the field of this argument.")
                form.add_error(each.html_name, f"{min(twice)}: {problem}")
        given |= values
    try:
        return None if form.errors else bound(task, given)
    except ArgumentErrors as error:
        for name, sentences in error.errors.items():
            field = fields.get(name, rest)
            if field is None:
                form.add_error(None, [f"{name}: {sentence}" for sentence in sentences])
            elif field.is_secret and given.get(name) is not None:
                # An error message may contain the value.
                form.add_error(field.html_name, _("This value is invalid."))
            else:
                about = "" if field.name == name else f"{name}: "
                form.add_error(field.html_name, [about + sentence for sentence in sentences])
    return None


def _with_options(task: Task[..., Any], form: forms.Form) -> Task[..., Any] | None:
    # Options that the user has not changed keep the value of the settings.
    values = {name: value for name, value in form.cleaned_data.items() if name in form.changed_data}
    try:
        if "queue_name" in values:
            task = task.using(queue_name=values["queue_name"] or None)
    except (TypeError, ValueError, compat.InvalidTask) as error:
        form.add_error("queue_name", str(error))
        return None
    if "priority" in values:
        task = task.using(priority=values["priority"])
    return task.using(run_after=values.get("at"))
