"""The list of queues: counts, pauses and limits, and the actions on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from .. import actions, tasks
from ..access import database
from ..lifecycle.states import JobStatus
from ..models import Queue
from . import audit, formatting, statistics, worker_display
from .base import Screens, jobs_of, may, redirect_with_message, require, sees_all_jobs, url
from .confirmation import CAP, COUNTED, summary
from .counts import JobCounts
from .dashboard import MAX_QUEUES, queue_names, queue_rows
from .forms import form_of
from .pagination import items_of, searched

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Queue]
else:
    ModelAdmin = admin.ModelAdmin

#: The actions on a queue: label, permission, and the fields of the confirmation.
VERBS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "pause": (gettext_lazy("Pause"), "pause_queue", ("reason", "until")),
    "resume": (gettext_lazy("Resume"), "pause_queue", ()),
    "limit": (gettext_lazy("Change the limit"), "change_queue", ("max_running",)),
    "clear": (gettext_lazy("Clear"), "discard_job", ("typed", "reason")),
}


PAUSE_CHANGED = gettext_noop(
    "Another user has paused or resumed the queue in the meantime. Check its state and confirm again."
)

#: The states of the jobs that are cancelled when a queue is cleared.
CLEARED = (JobStatus.READY.value, JobStatus.SCHEDULED.value)


class WaitingJobs(NamedTuple):
    """The jobs that wait in a queue, up to ``COUNTED``, and whether there may be more."""

    selection: actions.Selection
    ids: list[UUID]
    more: bool
    is_many: bool
    in_background: bool

    @property
    def number(self) -> int:
        return len(self.ids)


class QueueScreens(Screens):
    """Mixin: all screens about queues."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.act_view)
        return [
            path("actions/<slug:name>/", view, name="django_tasks_q_queue_action"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the queues. The number of queries does not depend on the number of queues."""
        require(request, "view_queue")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        jobs, search = jobs_of(request), searched(request)
        stored = list(Queue._default_manager.using(database()).order_by("backend", "name")[:MAX_QUEUES])
        counts = JobCounts.of(jobs).with_queues(jobs, stored)
        span = statistics.span_of("1h") if sees_all_jobs() else None
        names = [name for name in queue_names(counts, stored) if search.lower() in name[1].lower()]
        page = items_of(request, names)
        context = {
            "rows": queue_rows(page.rows, counts, worker_display.RecentWorkers.now(), stored, span),
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
        # A queue has no page: the list shows its pause and limit, and the list of jobs its jobs.
        require(request, "view_queue")
        return HttpResponseRedirect(url("queue_changelist"))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return self.change_view(request, object_id)

    def act_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show the confirmation, or execute the action if it is confirmed."""
        if name not in VERBS:
            raise Http404
        label, codename, fields = VERBS[name]
        require(request, codename)
        target = url("queue_changelist")
        if request.method != "POST":
            return redirect_with_message(request, _("Choose an action on this page."), target)
        backend, queue = request.POST.get("backend", ""), request.POST.get("queue", "")
        if not all(value and len(value) <= 128 and value.isprintable() for value in (backend, queue)):
            return redirect_with_message(
                request, _("This is not a valid name of a queue."), target, messages.ERROR
            )
        row = self._row(backend, queue)
        confirmed = "confirmed" in request.POST
        initial = {"max_running": row.max_running if row else None}
        form = form_of(fields, request.POST if confirmed else None, initial)
        waiting = self._waiting(request, backend, queue) if name == "clear" else None
        # Resuming needs no confirmation: the button that replaces it reverts it.
        if (confirmed and form.is_valid()) or name == "resume":
            values = form.cleaned_data if fields else {}
            if name == "clear" and values["typed"] != queue:
                form.add_error("typed", _("This is not the name of the queue."))
            elif name == "pause" and request.POST.get("known", "") != _pause_id(row):
                form.add_error(None, _(PAUSE_CHANGED))
            elif self._apply(request, name, (backend, queue), values, form, waiting, row):
                return HttpResponseRedirect(target)
        context = {
            "label": label,
            "name": name,
            "backend": backend,
            "queue": queue,
            "form": form,
            "waiting": waiting,
            "paused": _pause_text(row) if name == "pause" else "",
            "known": _pause_id(row) if name == "pause" else "",
            "is_destructive": name == "clear",
        }
        return self.page(
            request, "queue_action", f"{label}: {queue}", context, status=400 if form.errors else 200
        )

    def _row(self, backend: str, queue: str) -> Any:
        return Queue._default_manager.using(database()).filter(backend=backend, name=queue).first()

    def _waiting(self, request: HttpRequest, backend: str, queue: str) -> WaitingJobs:
        selection = actions.Selection(states=CLEARED, backend=backend, queue=queue)
        jobs, can_bulk = jobs_of(request), tasks.can_bulk(request)
        found = actions.collected(selection, jobs, COUNTED, actions.BUDGET)
        if found.more and not can_bulk:
            found = actions.collected(selection, jobs, CAP)
        is_many = found.more or len(found.ids) > CAP
        return WaitingJobs(selection, found.ids, found.more, is_many, is_many and can_bulk)

    def _apply(
        self,
        request: HttpRequest,
        name: str,
        queue: tuple[str, str],
        values: dict[str, Any],
        form: Any,
        waiting: WaitingJobs | None,
        row: Any,
    ) -> bool:
        try:
            with transaction.atomic(using=database()):
                message = _perform(request, name, *queue, values, waiting)
                log_message = _log_message(name, values, row)
                audit.record(request, Queue, [(queue[1], f"{queue[1]} ({queue[0]})")], log_message)
        except (TypeError, ValueError) as error:
            form.add_error(None, str(error))
            return False
        messages.success(request, message)
        return True


def _pause_id(row: Any) -> str:
    """Return a text that identifies a pause of a queue, or "" if it is not paused."""
    if row is None or not row.is_paused:
        return ""
    return f"{row.paused_at.isoformat()} {row.paused_by}"


def _pause_text(row: Any) -> str:
    """Return the user, the reason and the end of a pause, or "" if the queue is not paused."""
    if row is None or not row.is_paused:
        return ""
    until = formatting.timestamp_text(row.paused_until) if row.paused_until else ""
    return ", ".join(filter(None, [row.paused_by, row.pause_reason, until])) or formatting.timestamp_text(
        row.paused_at
    )


def _log_message(name: str, values: dict[str, Any], row: Any) -> str:
    """Return the message of the log entry: old and new values, and the reason."""
    parts = [str(VERBS[name][0])]
    if name == "limit":
        old, new = (row.max_running if row else None), values["max_running"]
        parts[0] += f": {'–' if old is None else old} → {'–' if new is None else new}"
    if name == "pause" and (was := _pause_text(row)):
        parts.append(_("Previous pause: %(pause)s") % {"pause": was})
    if values.get("until"):
        parts.append(_("Until %(time)s") % {"time": formatting.timestamp_text(values["until"])})
    return ". ".join(filter(None, [*parts, values.get("reason")]))


def _perform(
    request: HttpRequest,
    name: str,
    backend: str,
    queue: str,
    values: dict[str, Any],
    waiting: WaitingJobs | None,
) -> str:
    shared: dict[str, Any] = {"backend": backend, "user": request.user}
    reason = values.get("reason") or ""
    match name:
        case "pause":
            by = request.user.get_username()[:255]
            actions.pause(queue, by=by, reason=reason, until=values["until"], **shared)
            message = _("“%(queue)s” is paused. Running jobs continue; no other job of the queue is started.")
            return message % {"queue": queue}
        case "resume":
            actions.resume(queue, **shared)
            return _("“%(queue)s” is resumed.") % {"queue": queue}
        case "limit":
            actions.limit(queue, values["max_running"], **shared)
            return _("The limit of “%(queue)s” is changed.") % {"queue": queue}
    assert waiting is not None  # noqa: S101 - what is left is to clear
    if waiting.in_background:
        id = tasks.enqueue_bulk(request, "discard", waiting.selection, reason=reason).id
        message = _("%(label)s: this runs in the background, as job %(id)s.")
        return message % {"label": VERBS[name][0], "id": id}
    done = actions.discard(waiting.ids[:CAP], reason=reason, user=request.user)
    return summary(VERBS[name][0], done)


@admin.register(Queue)
class QueueAdmin(QueueScreens, ModelAdmin):
    pass
