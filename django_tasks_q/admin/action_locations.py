"""The actions on the page of a job: with Django's action locations, or with buttons before Django 6.1.

Since 6.1 an action names its locations, and the page of an object is one of these. Before, each button posts
to the address of its action. No other module of the admin depends on Django's version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin as django_admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import model_format_dict
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from ..models import Job
from .base import jobs_of, url
from .confirmation import action_view
from .verbs import VERBS, Verb, offered

#: ``ActionLocation.CHANGE_FORM``, or None before Django 6.1.
OBJECT_PAGE: Any = getattr(getattr(django_admin, "ActionLocation", None), "CHANGE_FORM", None)


def actions_at(request: HttpRequest, location: Any) -> dict[str, Any]:
    """Return the verbs as Django's actions for the page of an object, and none for other locations."""
    if location is None or location is not OBJECT_PAGE:
        return {}
    return {verb.name: _action(verb) for verb in offered(request)}


def _action(verb: Verb) -> Any:
    from django.contrib.admin import options

    made: Any = options.Action  # since 6.1
    label = str(verb.label).replace("%", "%%")
    return made(_handler(verb.name), verb.name, label, label, [OBJECT_PAGE])


def _handler(name: str) -> Callable[..., HttpResponse]:
    def do(admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse:
        return action_view(admin, request, name)

    return do


def choices(admin: Any, request: HttpRequest) -> list[tuple[str, str]]:
    """Return name and label of the actions of the page, those of the project included.

    A theme may override ``get_action_choices()`` without the parameter for the location.
    """
    actions = admin.get_actions(request, action_location=OBJECT_PAGE).values()
    return [(action.name, action.description % model_format_dict(admin.opts)) for action in actions]


def context(admin: Any, request: HttpRequest, job: Job) -> dict[str, Any]:
    """Return the context for the actions of a job. Verbs that its state does not allow are left out."""
    verbs = [verb for verb in offered(request) if verb.fits(job)]
    if OBJECT_PAGE is None:
        return {"verbs": verbs, "actions_template": "admin/django_tasks_q/job_verbs.html"}
    left_out = VERBS.keys() - {verb.name for verb in verbs}
    form = admin.action_form(auto_id=None, prefix=OBJECT_PAGE.value)
    found = [(name, label) for name, label in choices(admin, request) if name not in left_out]
    form.fields["action"].choices = found
    return {
        "action_form": form if found else None,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "destructive": [verb.name for verb in verbs if verb.is_destructive],
        "actions_template": "admin/django_tasks_q/job_actions.html",
    }


def perform(admin: Any, request: HttpRequest, job: Job) -> HttpResponse | None:
    """Execute the chosen action, or return None if the request chooses none.

    Raise BadRequest if the request names another job.
    """
    if OBJECT_PAGE is None or f"{OBJECT_PAGE.value}-action" not in request.POST:
        return None
    if request.POST.getlist(ACTION_CHECKBOX_NAME) != [str(job.pk)]:
        raise BadRequest
    done = admin.response_action(request, jobs_of(request), action_location=OBJECT_PAGE)
    return done or HttpResponseRedirect(url("job_change", job.pk))
