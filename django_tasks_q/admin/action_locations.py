"""Where the page of a job has its actions: at Django's own place for them, if there is one.

Since 6.1 actions name their locations, and the page of an object is one of these. Before, buttons go to the
verbs themselves. No other module asks which Django it is.
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
from .confirmation import act
from .verbs import VERBS, Verb, offered

#: ``ActionLocation.CHANGE_FORM``, or None where Django knows no such place.
OBJECT_PAGE: Any = getattr(getattr(django_admin, "ActionLocation", None), "CHANGE_FORM", None)


def actions_at(request: HttpRequest, location: Any) -> dict[str, Any]:
    """Our verbs as Django's actions, at the only place where Django is to show them."""
    if location is None or location is not OBJECT_PAGE:
        return {}
    return {verb.name: _action(verb) for verb in offered(request)}


def _action(verb: Verb) -> Any:
    from django.contrib.admin import options

    made: Any = options.Action  # since 6.1
    label = str(verb.label).replace("%", "%%")
    return made(_doing(verb.name), verb.name, label, label, [OBJECT_PAGE])


def _doing(name: str) -> Callable[..., HttpResponse]:
    def do(admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse:
        return act(admin, request, name)

    return do


def choices(admin: Any, request: HttpRequest) -> list[tuple[str, str]]:
    """The actions of the page, ours and the project's. Themes may only know how Django chose them before."""
    actions = admin.get_actions(request, action_location=OBJECT_PAGE).values()
    return [(action.name, action.description % model_format_dict(admin.opts)) for action in actions]


def context(admin: Any, request: HttpRequest, job: Job) -> dict[str, Any]:
    """What the template of a job's actions is told: of the verbs those only that its state allows."""
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
        "grave": [verb.name for verb in verbs if verb.is_grave],
        "actions_template": "admin/django_tasks_q/job_actions.html",
    }


def perform(admin: Any, request: HttpRequest, job: Job) -> HttpResponse | None:
    """Do what was chosen at Django's place; None where nothing was. Raises BadRequest for other jobs."""
    if OBJECT_PAGE is None or f"{OBJECT_PAGE.value}-action" not in request.POST:
        return None
    if request.POST.getlist(ACTION_CHECKBOX_NAME) != [str(job.pk)]:
        raise BadRequest
    done = admin.response_action(request, jobs_of(request), action_location=OBJECT_PAGE)
    return done or HttpResponseRedirect(url("job_change", job.pk))
