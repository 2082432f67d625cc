"""From a button to a verb: a page that asks, with the exact count, and the deed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import actions
from ..models import Job
from ..scope import database
from ..states import JobStatus
from . import audit
from .base import back_to, jobs_of, leave, require, url
from .forms import form_of, soon, values_of
from .joblist import Filters
from .verbs import VERBS, Verb

#: Most jobs that one press of a button changes.
CAP = 1000


class Chosen(NamedTuple):
    """Jobs that a verb is for, by their ids: state and task; and whether there are more than these."""

    rows: dict[UUID, tuple[str, str]]
    more: bool = False

    def fitting(self, verb: Verb) -> int:
        return sum(status in verb.states for status, _task in self.rows.values())

    def left_alone(self, verb: Verb) -> list[tuple[str, int]]:
        counts = Counter(status for status, _task in self.rows.values() if status not in verb.states)
        return [(str(JobStatus(status).label), count) for status, count in sorted(counts.items())]


def chosen(request: HttpRequest) -> Chosen:
    """The jobs that a form names, or all that its filter finds, as far as the user may see them.

    Raises ValueError with what to say to the user.
    """
    jobs = jobs_of(request)
    more = False
    if "matching" in request.POST:
        filters = Filters.parse(request.POST["matching"])
        if filters.problems:
            raise ValueError(" ".join(map(str, filters.problems)))
        ids, more = actions.matching(filters.narrow(jobs), CAP)
    else:
        ids = _named(request)
    rows = jobs.filter(id__in=ids).values_list("id", "status", "task_name")
    return Chosen({id: (status, task) for id, status, task in rows}, more)


def _named(request: HttpRequest) -> list[UUID]:
    texts = request.POST.getlist("_selected_action") + request.POST.get("ids", "").split()
    if not texts:
        raise ValueError(_("No job was chosen."))
    try:
        ids = sorted({UUID(text) for text in texts})
    except ValueError:
        raise ValueError(_("That is no id of a job.")) from None
    if len(ids) > CAP:
        raise ValueError(_("At most %(cap)d jobs can be changed at a time.") % {"cap": CAP})
    return ids


def act(admin: Any, request: HttpRequest, name: str) -> HttpResponse:
    """Ask, and do what was confirmed. Only a POST gets here, and only one that confirms changes anything."""
    verb = VERBS.get(name)
    if verb is None:
        raise Http404
    require(request, verb.codename)
    target = back_to(request, url("job_changelist"))
    if request.method != "POST":
        return leave(request, _("Choose what to do on this page."), target)
    try:
        jobs = chosen(request)
    except ValueError as error:
        return leave(request, str(error), target, messages.ERROR)
    confirmed = "confirmed" in request.POST
    data = request.POST if confirmed else None
    form = form_of(verb.fields, data, {"moment": soon()})
    if confirmed and form.is_valid():
        done = _perform(request, verb, jobs, form)
        if done is not None:
            return HttpResponseRedirect(_after(verb, jobs, target))
    return _ask(admin, request, verb, jobs, form, target)


def _after(verb: Verb, jobs: Chosen, target: str) -> str:
    gone = verb.name == "delete" and any(str(id) in target for id in jobs.rows)
    return url("job_changelist") if gone else target


def _ask(
    admin: Any, request: HttpRequest, verb: Verb, jobs: Chosen, form: forms.Form, target: str
) -> HttpResponse:
    fitting = jobs.fitting(verb)
    context = {
        "verb": verb,
        "question": verb.question % {"count": fitting} if fitting else _("Nothing to do."),
        "fitting": fitting,
        "left_alone": jobs.left_alone(verb),
        "more": jobs.more,
        "cap": CAP,
        "form": form,
        "next": target,
        "ids": " ".join(map(str, jobs.rows)),
        "examples": Counter(task for status, task in jobs.rows.values() if status in verb.states).most_common(
            5
        ),
    }
    response: HttpResponse = admin.page(
        request, "confirm", verb.label, context, status=400 if form.errors else 200
    )
    return response


def _perform(request: HttpRequest, verb: Verb, jobs: Chosen, form: forms.Form) -> Any:
    values = values_of(form)
    try:
        # The verb and the record of it, or neither.
        with transaction.atomic(using=database()):
            done = verb.function(list(jobs.rows), user=request.user, **values)
            changed = done.done | getattr(done, "requested", set())
            names = [(id, f"{jobs.rows[id][1]} ({id})") for id in sorted(changed) if id in jobs.rows]
            flag = DELETION if verb.name == "delete" else CHANGE
            audit.record(request, Job, names, _told(verb, values), flag)
    except (TypeError, ValueError) as error:
        form.add_error(None, str(error))
        return None
    level = messages.SUCCESS if changed else messages.WARNING
    messages.add_message(request, level, summary(verb.label, done))
    if jobs.more:
        messages.warning(request, _("There are more of them: do it again for the next ones."))
    return done


def _told(verb: Verb, values: Mapping[str, Any]) -> str:
    told = [f"{name} = {value}" for name, value in sorted(values.items()) if name != "reason"]
    return ". ".join([str(verb.label), *told, *filter(None, [values.get("reason")])])


def summary(label: Any, done: Any) -> str:
    """ "n done, m skipped because …", in the user's language."""
    requested: Collection[UUID] = getattr(done, "requested", ())
    parts = []
    if done.done or not requested:
        count = len(done.done)
        parts.append(ngettext("%(count)d done", "%(count)d done", count) % {"count": count})
    if requested:
        count = len(requested)
        parts.append(ngettext("%(count)d asked to end", "%(count)d asked to end", count) % {"count": count})
    for reason, ids in done.skipped.items():
        count = len(ids)
        skipped = ngettext(
            "%(count)d skipped because it %(reason)s", "%(count)d skipped because each %(reason)s", count
        )
        parts.append(skipped % {"count": count, "reason": reason.label})
    return f"{label}: {', '.join(parts)}."
