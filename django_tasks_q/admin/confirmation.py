"""The confirmation of an action on jobs, and its execution."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from .. import actions, tasks
from ..access import database
from ..actions import access
from ..lifecycle.states import label_of
from ..models import Job
from . import audit
from .base import jobs_of, may, redirect_with_message, require, return_url, url
from .forms import form_of, in_an_hour, values_of
from .job_list import Filters
from .verbs import VERBS, Verb

#: The most jobs that an action changes within one request.
CAP = 1000
#: The most jobs that are counted for an action in the background.
COUNTED = 10_000


class ChosenJobs(NamedTuple):
    """The jobs that an action is for."""

    #: State and task by id: of all the jobs, or of the first CAP that the filters match.
    rows: dict[UUID, tuple[str, str]]
    #: The filters that match them, unless the form has named each.
    filters: Filters | None = None
    #: The number of jobs that the filters match, and whether there may be more.
    number: int = 0
    more: bool = False

    @property
    def is_many(self) -> bool:
        """Return whether there are more jobs than one request changes."""
        return self.more or self.number > len(self.rows)

    def changeable(self, verb: Verb) -> int:
        return sum(status in verb.states for status, _task in self.rows.values())

    def unchanged(self, verb: Verb) -> list[tuple[str, int]]:
        counts = Counter(status for status, _task in self.rows.values() if status not in verb.states)
        return [(label_of(status), count) for status, count in sorted(counts.items())]


def chosen_jobs(request: HttpRequest, verb: Verb) -> ChosenJobs:
    """Return the jobs that a form names, or all that its filters match, if the user may see them.

    Raise ValueError with a message for the user.
    """
    jobs = jobs_of(request)
    if "matching" in request.POST:
        return _matching(request, verb, _filters(request.POST["matching"]))
    filters = _filters(request.POST["all"]) if "all" in request.POST else None
    if filters is not None and "background" in request.POST:
        return ChosenJobs({}, filters, more=True)
    return ChosenJobs(_states_and_tasks(jobs, _selected_ids(request)), filters, more=filters is not None)


def _matching(request: HttpRequest, verb: Verb, filters: Filters) -> ChosenJobs:
    jobs, selection = actions.NAMED[verb.name].pending(jobs_of(request)), filters.selection(verb.states)
    found = actions.collected(selection, jobs, COUNTED, actions.BUDGET)
    if found.more and len(found.ids) < CAP and not tasks.can_bulk(request):
        # The user repeats the action for the next jobs, so that each step needs at least one.
        found = actions.collected(selection, jobs, CAP)
    return ChosenJobs(_states_and_tasks(jobs, found.ids[:CAP]), filters, len(found.ids), found.more)


def _states_and_tasks(jobs: Any, ids: list[UUID]) -> dict[UUID, tuple[str, str]]:
    rows = jobs.filter(id__in=ids).values_list("id", "status", "task_name")
    return {id: (status, task) for id, status, task in rows}


def _filters(text: str) -> Filters:
    filters = Filters.parse(text)
    if filters.problems:
        raise ValueError(" ".join(map(str, filters.problems)))
    return filters


def _selected_ids(request: HttpRequest) -> list[UUID]:
    texts = request.POST.getlist("_selected_action") + request.POST.get("ids", "").split()
    if not texts:
        raise ValueError(_("No job was selected."))
    try:
        ids = sorted({UUID(text) for text in texts})
    except ValueError:
        raise ValueError(_("This is not the id of a job.")) from None
    if len(ids) > CAP:
        raise ValueError(_("At most %(cap)d jobs can be changed at a time.") % {"cap": CAP})
    return ids


def action_view(admin: Any, request: HttpRequest, name: str) -> HttpResponse:
    """Show the confirmation, or execute the action if the POST confirms it."""
    verb = VERBS.get(name)
    if verb is None:
        raise Http404
    require(request, verb.codename)
    target = return_url(request, url("job_changelist"))
    if request.method != "POST":
        return redirect_with_message(request, _("Choose an action on this page."), target)
    try:
        jobs = chosen_jobs(request, verb)
    except ValueError as error:
        return redirect_with_message(request, str(error), target, messages.ERROR)
    confirmed = "confirmed" in request.POST and not ("matching" in request.POST and jobs.is_many)
    data = request.POST if confirmed else None
    form = form_of(verb.fields, data, {"moment": in_an_hour()})
    if confirmed and "background" in request.POST and jobs.filters and form.is_valid():
        if (id := _start_in_background(request, verb, jobs.filters, form)) is not None:
            return HttpResponseRedirect(_job_url(request, id) or target)
    elif confirmed and form.is_valid():
        done = _perform(request, verb, jobs, form)
        if done is not None:
            return HttpResponseRedirect(_target_after(verb, jobs, target))
    if jobs.filters is not None and "background" in request.POST:
        jobs = _matching(request, verb, jobs.filters)
    return _confirmation_page(admin, request, verb, jobs, form, target)


def _target_after(verb: Verb, jobs: ChosenJobs, target: str) -> str:
    gone = verb.name == "delete" and any(str(id) in target for id in jobs.rows)
    return url("job_changelist") if gone else target


def _confirmation_page(
    admin: Any, request: HttpRequest, verb: Verb, jobs: ChosenJobs, form: forms.Form, target: str
) -> HttpResponse:
    changeable = jobs.changeable(verb)
    query = jobs.filters.query() if jobs.filters is not None else ""
    in_background = jobs.is_many and tasks.can_bulk(request)
    count = jobs.number if in_background else changeable
    context = {
        "verb": verb,
        "question": _question_text(verb, count, jobs.more and in_background)
        if count
        else _("Nothing to do."),
        "changeable": count,
        "unchanged": jobs.unchanged(verb),
        "is_many": jobs.is_many,
        "is_filtered": jobs.filters is not None,
        "in_background": in_background,
        "obstacle": tasks.obstacle(request) if jobs.is_many else "",
        "all": _count_text(count, jobs.more),
        "matching": query,
        "cap": CAP,
        "form": form,
        "next": target,
        "ids": "" if in_background else " ".join(map(str, jobs.rows)),
        "examples": []
        if in_background
        else Counter(task for status, task in jobs.rows.values() if status in verb.states).most_common(5),
    }
    response: HttpResponse = admin.page(
        request, "confirm", verb.label, context, status=400 if form.errors else 200
    )
    return response


def _question_text(verb: Verb, count: int, more: bool) -> str:
    if not more:
        return str(verb.question % {"count": count})
    message = _("%(label)s: all jobs that match the filters, at least %(count)s?")
    return message % {"label": verb.label, "count": f"{count:,}"}


def _count_text(count: int, more: bool) -> str:
    return _("at least %(count)s") % {"count": f"{count:,}"} if more else f"{count:,}"


def _start_in_background(request: HttpRequest, verb: Verb, filters: Filters, form: forms.Form) -> UUID | None:
    """Enqueue the job that does this to all jobs that the filters match."""
    try:
        with transaction.atomic(using=database()):
            selection = filters.selection(verb.states)
            id = UUID(tasks.enqueue_bulk(request, verb.name, selection, **values_of(form)).id)
    except (TypeError, ValueError) as error:
        form.add_error(None, str(error))
        return None
    message = _("%(label)s: this runs in the background, as job %(id)s.")
    messages.success(request, message % {"label": verb.label, "id": id})
    return id


def _job_url(request: HttpRequest, id: UUID) -> str:
    """Return the address of a job's page, or "" if the user may not see the job."""
    may_see = may(request, "view_job") and jobs_of(request).filter(id=id).exists()
    return url("job_change", id) if may_see else ""


def _perform(request: HttpRequest, verb: Verb, jobs: ChosenJobs, form: forms.Form) -> Any:
    values = values_of(form)
    try:
        # The action and its log entry are written together.
        with transaction.atomic(using=database()):
            done = verb.function(list(jobs.rows), user=request.user, **values)
            changed = done.done | getattr(done, "requested", set())
            if access.moves(verb.name):
                access.refuse_outside(request, changed, database())
            names = [(id, f"{jobs.rows[id][1]} ({id})") for id in sorted(changed) if id in jobs.rows]
            flag = DELETION if verb.name == "delete" else CHANGE
            audit.record(request, Job, names, actions.change_message(verb.label, values), flag)
    except (TypeError, ValueError) as error:
        form.add_error(None, str(error))
        return None
    level = messages.SUCCESS if changed else messages.WARNING
    messages.add_message(request, level, summary(verb.label, done))
    if jobs.is_many:
        messages.warning(request, _("There are more jobs. Repeat the action for the next ones."))
    return done


def summary(label: Any, done: Any) -> str:
    """Return "n done, m skipped because …" in the user's language."""
    return f"{label}: {actions.Report.of(done).summary()}."
