"""The queues: how full they are, and what was settled about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import actions, tasks
from ..access import database
from ..lifecycle.states import JobStatus
from ..models import Queue
from . import audit, formatting, statistics, worker_display
from .base import Screens, jobs_of, leave, may, require, sees_all, url
from .confirmation import CAP, COUNTED, summary
from .counts import Overview
from .dashboard import MOST_QUEUES, queue_names, queue_rows
from .forms import form_of
from .pagination import items_of, searched

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Queue]
else:
    ModelAdmin = admin.ModelAdmin

#: What can be done to a queue: its label, its permission, and what is asked for.
VERBS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "pause": (gettext_lazy("Pause"), "pause_queue", ("reason", "until")),
    "resume": (gettext_lazy("Resume"), "pause_queue", ()),
    "limit": (gettext_lazy("Change the limit"), "change_queue", ("max_running",)),
    "clear": (gettext_lazy("Clear"), "discard_job", ("typed", "reason")),
}


#: The states of the jobs that are cancelled when a queue is cleared.
CLEARED = (JobStatus.READY.value, JobStatus.SCHEDULED.value)


class Waiting(NamedTuple):
    """The jobs that wait in a queue, as far as they were counted, and whether there may be more."""

    selection: actions.Selection
    ids: list[UUID]
    more: bool
    is_many: bool
    in_background: bool

    @property
    def number(self) -> int:
        return len(self.ids)


class QueueScreens(Screens):
    """Mixin: everything about queues."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.act_view)
        return [
            path("actions/<slug:name>/", view, name="django_tasks_q_queue_action"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """A number of queries of its own that does not grow with what there is."""
        require(request, "view_queue")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        jobs, search = jobs_of(request), searched(request)
        settled = list(Queue._default_manager.using(database()).order_by("backend", "name")[:MOST_QUEUES])
        overview = Overview.of(jobs).with_queues(jobs, settled)
        span = statistics.span_of("1h") if sees_all() else None
        names = [name for name in queue_names(overview, settled) if search.lower() in name[1].lower()]
        page = items_of(request, names)
        context = {
            "rows": queue_rows(page.rows, overview, worker_display.Fleet.now(), settled, span),
            "page": page,
            "search": search,
            "may_pause": may(request, "pause_queue"),
            "may_limit": may(request, "change_queue"),
            "may_clear": may(request, "discard_job"),
            "live": True,
            **(extra_context or {}),
        }
        return self.page(request, "queues", _("Queues"), context, fragment="queues_live")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # A queue's page is its jobs, and what is settled of it is in the list.
        require(request, "view_queue")
        return HttpResponseRedirect(url("queue_changelist"))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self.change_view(request, object_id)

    def act_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask, and do what was confirmed."""
        if name not in VERBS:
            raise Http404
        label, codename, fields = VERBS[name]
        require(request, codename)
        target = url("queue_changelist")
        if request.method != "POST":
            return leave(request, _("Choose what to do on this page."), target)
        backend, queue = request.POST.get("backend", ""), request.POST.get("queue", "")
        if not all(value and len(value) <= 128 and value.isprintable() for value in (backend, queue)):
            return leave(request, _("That is no name of a queue."), target, messages.ERROR)
        row = self._row(backend, queue)
        confirmed = "confirmed" in request.POST
        initial = {"max_running": row.max_running if row else None}
        form = form_of(fields, request.POST if confirmed else None, initial)
        waiting = self._waiting(request, backend, queue) if name == "clear" else None
        # To resume is no harm, and undone by the button that comes in its place.
        if (confirmed and form.is_valid()) or name == "resume":
            values = form.cleaned_data if fields else {}
            if name == "clear" and values["typed"] != queue:
                form.add_error("typed", _("That is not its name."))
            elif name == "pause" and request.POST.get("known", "") != _mark(row):
                form.add_error(None, _("Somebody else has paused or resumed it meanwhile: look again."))
            elif self._done(request, name, (backend, queue), values, form, waiting, row):
                return HttpResponseRedirect(target)
        context = {
            "label": label,
            "name": name,
            "backend": backend,
            "queue": queue,
            "form": form,
            "waiting": waiting,
            "paused": _told(row) if name == "pause" else "",
            "known": _mark(row) if name == "pause" else "",
            "is_grave": name == "clear",
        }
        return self.page(
            request, "queue_action", f"{label}: {queue}", context, status=400 if form.errors else 200
        )

    def _row(self, backend: str, queue: str) -> Any:
        return Queue._default_manager.using(database()).filter(backend=backend, name=queue).first()

    def _waiting(self, request: HttpRequest, backend: str, queue: str) -> Waiting:
        selection = actions.Selection(states=CLEARED, backend=backend, queue=queue)
        jobs, can_bulk = jobs_of(request), tasks.can_bulk(request)
        found = actions.collected(selection, jobs, COUNTED, actions.BUDGET)
        if found.more and not can_bulk:
            found = actions.collected(selection, jobs, CAP)
        is_many = found.more or len(found.ids) > CAP
        return Waiting(selection, found.ids, found.more, is_many, is_many and can_bulk)

    def _done(
        self,
        request: HttpRequest,
        name: str,
        queue: tuple[str, str],
        values: dict[str, Any],
        form: Any,
        waiting: Waiting | None,
        row: Any,
    ) -> bool:
        try:
            with transaction.atomic(using=database()):
                message = _perform(request, name, *queue, values, waiting)
                told = _logged(name, values, row)
                audit.record(request, Queue, [(queue[1], f"{queue[1]} ({queue[0]})")], told)
        except (TypeError, ValueError) as error:
            form.add_error(None, str(error))
            return False
        messages.success(request, message)
        return True


def _mark(row: Any) -> str:
    """What tells one pause of a queue from another one."""
    if row is None or not row.is_paused:
        return ""
    return f"{row.paused_at.isoformat()} {row.paused_by}"


def _told(row: Any) -> str:
    """Who has paused a queue, and why."""
    if row is None or not row.is_paused:
        return ""
    until = formatting.plain(row.paused_until) if row.paused_until else ""
    return ", ".join(filter(None, [row.paused_by, row.pause_reason, until])) or formatting.plain(
        row.paused_at
    )


def _logged(name: str, values: dict[str, Any], row: Any) -> str:
    """What the log says of it: from what to what, and why."""
    parts = [str(VERBS[name][0])]
    if name == "limit":
        old, new = (row.max_running if row else None), values["max_running"]
        parts[0] += f": {'–' if old is None else old} → {'–' if new is None else new}"
    if name == "pause" and (was := _told(row)):
        parts.append(_("It was paused: %(pause)s") % {"pause": was})
    if values.get("until"):
        parts.append(_("Until %(time)s") % {"time": formatting.plain(values["until"])})
    return ". ".join(filter(None, [*parts, values.get("reason")]))


def _perform(
    request: HttpRequest,
    name: str,
    backend: str,
    queue: str,
    values: dict[str, Any],
    waiting: Waiting | None,
) -> str:
    shared: dict[str, Any] = {"backend": backend, "user": request.user}
    reason = values.get("reason") or ""
    match name:
        case "pause":
            by = request.user.get_username()[:255]
            actions.pause(queue, by=by, reason=reason, until=values["until"], **shared)
            told = _("“%(queue)s” is paused: nothing more of it is started. What runs goes on.")
            return told % {"queue": queue}
        case "resume":
            actions.resume(queue, **shared)
            return _("“%(queue)s” is resumed.") % {"queue": queue}
        case "limit":
            actions.limit(queue, values["max_running"], **shared)
            return _("The limit of “%(queue)s” is changed.") % {"queue": queue}
    assert waiting is not None  # noqa: S101 - what is left is to clear
    if waiting.in_background:
        id = tasks.enqueue_bulk(request, "discard", waiting.selection, reason=reason).id
        told = _("%(label)s: this goes on in the background, as job %(id)s.")
        return told % {"label": VERBS[name][0], "id": id}
    done = actions.discard(waiting.ids[:CAP], reason=reason, user=request.user)
    return summary(VERBS[name][0], done)


@admin.register(Queue)
class QueueAdmin(QueueScreens, ModelAdmin):
    pass
