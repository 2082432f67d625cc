"""The list of schedules, the page of one, its form, and the actions on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import actions, compat
from ..access import backend, database
from ..actions import access
from ..definition.registry import is_internal, registry
from ..exceptions import TaskNotRegistered
from ..models import Schedule
from ..models.schedule import Kind, MissedPolicy, Origin, OverlapPolicy
from ..scheduling.declare import MAX_NAME
from ..timing import zone_of
from . import audit, formatting, payload, schedule_display
from .base import Screens, may, redirect_with_message, require, return_url, url
from .forms import JsonField, LineField, form_of
from .pagination import rows_of, searched
from .run_again import REFUSED, is_masked

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Schedule]
else:
    ModelAdmin = admin.ModelAdmin

#: The actions on a schedule: label, permission, and whether a confirmation is shown.
VERBS: dict[str, tuple[Any, str, bool]] = {
    "enable": (gettext_lazy("Enable"), "enable_schedule", False),
    "disable": (gettext_lazy("Disable"), "enable_schedule", True),
    "run": (gettext_lazy("Run now"), "run_schedule", True),
    "skip": (gettext_lazy("Skip the next run"), "run_schedule", True),
    "delete": (gettext_lazy("Delete"), "delete_schedule", True),
}
#: The most characters of a changed value in a log entry.
MAX_LOGGED = 200
EXPLANATIONS = {
    "disable": gettext_lazy(
        "The schedule does not fire until it is enabled again. A deployment does not enable it."
    ),
    "run": gettext_lazy("One job is enqueued now. The times of the schedule do not change."),
    "skip": gettext_lazy("The schedule skips only its next time."),
    "delete": gettext_lazy("The schedule and the records of its times are deleted. Its jobs stay."),
}


class ScheduleForm(forms.Form):
    """The form of a schedule that is defined in the database."""

    name = LineField(label=gettext_lazy("Name"), max_length=MAX_NAME)
    task = forms.ChoiceField(label=gettext_lazy("Task"))
    args = JsonField(label=gettext_lazy("Positional arguments"), required=False, initial=list)
    kwargs = JsonField(label=gettext_lazy("Keyword arguments"), required=False, initial=dict)
    kind = forms.ChoiceField(label=gettext_lazy("By"), choices=Kind.choices, initial=Kind.CRON)
    expression = LineField(
        label=gettext_lazy("Expression"),
        max_length=255,
        help_text=gettext_lazy(
            "For cron: minute, hour, day of month, month and day of week, such as 0 3 * * *, with optional "
            "seconds before them. For an interval: a number of seconds, such as 300."
        ),
    )
    timezone = LineField(label=gettext_lazy("Time zone"), max_length=64)
    missed = forms.ChoiceField(
        label=gettext_lazy("Times missed while no worker was running"),
        choices=MissedPolicy.choices,
        initial="one",
    )
    overlap = forms.ChoiceField(
        label=gettext_lazy("While the previous job has not ended"),
        choices=OverlapPolicy.choices,
        initial="allow",
    )
    queue_name = LineField(
        label=gettext_lazy("Queue"),
        max_length=128,
        required=False,
        help_text=gettext_lazy("Leave empty for the queue of the task."),
    )
    priority = forms.IntegerField(
        label=gettext_lazy("Priority"), min_value=-100, max_value=100, required=False
    )

    def __init__(self, *args: Any, row: Schedule | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        names = [task.name for task in registry.offered()]
        if row is not None and row.task_name not in names and not is_internal(row.task_name):
            names.append(row.task_name)
        self.fields["task"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        if row is not None:
            del self.fields["name"]

    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"]
        try:
            zone_of(name)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None
        return name

    def values(self) -> dict[str, Any]:
        """Return the keyword arguments of ``save_schedule()``.

        Raise ValueError if the arguments are no list or object, or an interval is no number.
        """
        found = dict(self.cleaned_data)
        args, kwargs = found.pop("args"), found.pop("kwargs")
        args, kwargs = [] if args is None else args, {} if kwargs is None else kwargs
        if not isinstance(args, list):
            raise ValueError(_("This must be a list, such as [1, 2]."))
        if not isinstance(kwargs, dict):
            raise ValueError(_('This must be an object, such as {"name": 1}.'))
        expression, kind = found.pop("expression"), found.pop("kind")
        if kind == Kind.EVERY:
            try:
                found["every"] = int(expression)
            except ValueError:
                raise ValueError(_("An interval must be a number of seconds.")) from None
        else:
            found["cron"] = expression
        found.pop("name", None)
        return {"task_name": found.pop("task"), "args": args, "kwargs": kwargs, **found}


class ScheduleScreens(Screens):
    """Mixin: all screens about schedules."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("actions/<slug:name>/", view(self.act_view), name="django_tasks_q_schedule_action"),
            path("<int:id>/edit/", view(self.edit_view), name="django_tasks_q_schedule_edit"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, "add_schedule")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if not str(object_id).isdecimal() or len(str(object_id)) > 18:
            return None
        return schedule_display.visible_schedules(request).filter(pk=int(object_id)).first()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the schedules. The page takes three queries."""
        require(request, "view_schedule")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        search, found = searched(request), schedule_display.visible_schedules(request)
        if search:
            found = found.filter(Q(name__icontains=search) | Q(task_name__icontains=search))
        page = rows_of(request, found, ("backend", "name"))
        rows = page.rows
        latest = schedule_display.marks(request, rows)
        context = {
            "rows": [schedule_display.table_row(row, latest.get(row.pk, ())) for row in rows],
            "page": page,
            "search": search,
            "may_add": may(request, "add_schedule"),
            "may_enable": may(request, "enable_schedule"),
            "may_run": may(request, "run_schedule"),
            "live": True,
            **(extra_context or {}),
        }
        return self.page(request, "schedules", _("Schedules"), context, fragment="schedules_live")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a schedule. The page takes four queries."""
        require(request, "view_schedule")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        row = self.get_object(request, object_id)
        if row is None:
            return _gone(request)
        data = payload.Payload.of(row.task_name, row.arguments)
        context = {
            "schedule": schedule_display.table_row(
                row, schedule_display.marks(request, [row]).get(row.pk, ())
            ),
            "row": row,
            "next_times": schedule_display.next_times(row),
            "is_open": payload.is_open(request),
            "args": formatting.pretty(data.args),
            "kwargs": formatting.pretty(data.kwargs),
            "may_enable": may(request, "enable_schedule"),
            "may_run": may(request, "run_schedule"),
            "may_edit": _may_edit(request, row),
            "may_delete": may(request, "delete_schedule")
            and (row.origin == Origin.DATABASE or row.retired_at is not None),
            "history": _history(row),
            "live": True,
            **(extra_context or {}),
        }
        return self.page(request, "schedule", row.name, context, fragment="schedule_live")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        require(request, "view_schedule")
        row = self.get_object(request, object_id)
        return _gone(request) if row is None else HttpResponseRedirect(url("schedule_change", row.pk))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        require(request, "add_schedule")
        return self._form(request, None)

    def edit_view(self, request: HttpRequest, id: int) -> HttpResponse:
        require(request, "change_schedule")
        require(request, "view_payload_job")
        row = self.get_object(request, str(id))
        if row is None:
            return _gone(request)
        if row.origin == Origin.CODE:
            message = _("“%(name)s” is declared in the code and can be changed only there.") % {
                "name": row.name
            }
            return redirect_with_message(request, message, url("schedule_change", row.pk))
        return self._form(request, row)

    def _form(self, request: HttpRequest, row: Any) -> HttpResponse:
        initial = {"timezone": settings.TIME_ZONE} if row is None else _initial(row)
        form = ScheduleForm(request.POST if request.method == "POST" else None, initial=initial, row=row)
        if request.method == "POST" and form.is_valid():
            name = form.cleaned_data["name"] if row is None else row.name
            saved = self._save(request, form, name, row)
            if saved is not None:
                return HttpResponseRedirect(url("schedule_change", saved))
        title = _("Add a schedule") if row is None else _("Edit “%(name)s”") % {"name": row.name}
        context = {
            "form": form,
            "back": url("schedule_changelist") if row is None else url("schedule_change", row.pk),
        }
        return self.page(request, "schedule_form", title, context, status=400 if form.errors else 200)

    def _save(self, request: HttpRequest, form: ScheduleForm, name: str, row: Any) -> Any:
        alias = _backend() if row is None else row.backend
        rows = Schedule.objects.using(database()).filter(backend=alias, name=name)
        try:
            with transaction.atomic(using=database()):
                if row is None and rows.exists():
                    raise ValueError(_("A schedule with this name already exists."))
                values = form.values()
                if row is not None:
                    values = _unmasked(values, row)
                before = {} if row is None else _initial(row)
                actions.save_schedule(name, user=request.user, backend=alias, **values)
                saved = rows.get()
                access.refuse_schedule(request, saved, database())
                pk = saved.pk
                message = _("Added") if row is None else _edit_message(form, before, _initial(saved))
                audit.record(request, Schedule, [(pk, name)], message, ADDITION if row is None else CHANGE)
        except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
            form.add_error(None, str(error))
            return None
        messages.success(request, _("“%(name)s” is saved.") % {"name": name})
        return pk

    def act_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show the confirmation, or execute the action if it is confirmed."""
        if name not in VERBS:
            raise Http404
        label, codename, needs_confirmation = VERBS[name]
        require(request, codename)
        if request.method != "POST":
            return redirect_with_message(
                request, _("Choose an action on this page."), url("schedule_changelist")
            )
        row = self.get_object(request, request.POST.get("id", ""))
        if row is None:
            return _gone(request)
        target = return_url(request, url("schedule_change", row.pk))
        confirmed = "confirmed" in request.POST
        form = form_of(("reason",), request.POST if confirmed else None)
        if not needs_confirmation or (confirmed and form.is_valid()):
            reason = form.cleaned_data["reason"] if needs_confirmation else ""
            self._act(request, name, row, reason)
            return HttpResponseRedirect(url("schedule_changelist") if name == "delete" else target)
        context = {
            "label": label,
            "name": name,
            "row": row,
            "explanation": EXPLANATIONS[name],
            "tick": formatting.timestamp(row.next_at) if name == "skip" and row.next_at else "",
            "form": form,
            "next": target,
            "is_destructive": name == "delete",
        }
        status = 400 if form.errors else 200
        return self.page(request, "schedule_action", f"{label}: {row.name}", context, status=status)

    def _act(self, request: HttpRequest, name: str, row: Any, reason: str) -> None:
        more: dict[str, Any] = {"reason": reason, "backend": row.backend, "user": request.user}
        if name == "disable":
            more["by"] = request.user.get_username()[:255]
        try:
            with transaction.atomic(using=database()):
                result = getattr(actions, f"{name}_schedule")(row.name, **more)
                if result.job_id is not None:
                    access.refuse_outside(request, [result.job_id], database())
                if result.done:
                    message = ". ".join(filter(None, [str(VERBS[name][0]), reason]))
                    flag = DELETION if name == "delete" else CHANGE
                    audit.record(request, Schedule, [(row.pk, row.name)], message, flag)
        except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
            messages.error(request, str(error))
            return
        if result.done:
            messages.success(request, f"{VERBS[name][0]}: {row.name}")
        else:
            messages.warning(request, f"{row.name}: {result.reason.label}")


def _gone(request: HttpRequest) -> HttpResponse:
    return redirect_with_message(
        request, _("No schedule has this id. It may have been deleted."), url("schedule_changelist")
    )


def _may_edit(request: HttpRequest, row: Schedule) -> bool:
    is_in_database = row.origin == Origin.DATABASE
    return is_in_database and may(request, "change_schedule") and payload.is_open(request)


def _backend() -> str:
    known = backend()
    return compat.DEFAULT_TASK_BACKEND_ALIAS if known is None else known.alias


def _initial(row: Schedule) -> dict[str, Any]:
    shown = payload.Payload.of(row.task_name, row.arguments)
    names = ("kind", "expression", "timezone", "missed", "overlap", "queue_name", "priority")
    return {
        "task": row.task_name,
        "args": shown.args,
        "kwargs": shown.kwargs,
        **{name: getattr(row, name) for name in names},
    }


def _unmasked(values: dict[str, Any], row: Schedule) -> dict[str, Any]:
    """Return ``values``, with the stored arguments if task and arguments were not changed.

    Raise ValueError if changed arguments contain a mask.
    """
    shown = payload.Payload.of(row.task_name, row.arguments)
    given = (values["task_name"], values["args"], values["kwargs"])
    if given == (row.task_name, shown.args, shown.kwargs):
        return values | {"args": row.args, "kwargs": row.kwargs}
    if is_masked([values["args"], values["kwargs"]]):
        raise ValueError(_(REFUSED))
    return values


def _edit_message(form: ScheduleForm, before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the old and new values of what was changed. Secrets are masked."""
    changes = [
        _("%(name)s: %(old)s → %(new)s")
        % {"name": form.fields[name].label, "old": _value_text(before[name]), "new": _value_text(after[name])}
        for name in before
        if before[name] != after[name]
    ]
    return ". ".join([_("Edited"), *changes])


def _value_text(value: Any) -> str:
    if value in (None, ""):
        return "–"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= MAX_LOGGED else f"{shown[:MAX_LOGGED]}…"


def _history(row: Schedule) -> list[LogEntry]:
    kind = ContentType.objects.get_for_model(Schedule)
    entries = LogEntry.objects.filter(content_type_id=kind.pk, object_id=str(row.pk)).select_related("user")
    return list(entries.order_by("-action_time")[:20])


@admin.register(Schedule)
class ScheduleAdmin(ScheduleScreens, ModelAdmin):
    pass
