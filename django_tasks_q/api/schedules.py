"""Schedules over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import transaction
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions, compat
from ..access import backend, database, scope_schedules
from ..actions import access
from ..definition import options
from ..exceptions import TaskNotRegistered
from ..models import Schedule
from ..models.schedule import Kind, MissedPolicy, Origin, OverlapPolicy
from ..monitoring.descriptions import scheduled
from ..payload.schema import ArgumentErrors
from ..scheduling.declare import schedule_name
from ..timing import timing_of, zone_of
from .base import TasksView
from .errors import Conflict
from .fields import Arguments, Moment, QueueName, Text, Whole
from .jobs import GenericAPIView
from .openapi import described
from .permissions import (
    CanDeleteSchedules,
    CanEnableSchedules,
    CanRunSchedules,
    CanSaveSchedules,
    CanViewSchedules,
    NeedsPermissions,
)
from .queues import ReasonSerializer, record, validated
from .tasks import agreed, permitted
from .throttling import ActionThrottle

NAME = ("name", str, "path", _("The name of the schedule."))
#: Most schedules of one answer.
MOST = 1000


class ScheduleSerializer(serializers.Serializer[Any]):
    """A schedule: what it enqueues, when, and how it stands. What its job is given is not told."""

    name = serializers.CharField()
    task = serializers.CharField()
    queue = serializers.CharField(allow_blank=True, help_text=_("Empty for the task's own."))
    priority = serializers.IntegerField(allow_null=True)
    origin = serializers.ChoiceField(choices=Origin.values, help_text=_("Where it is defined and edited."))
    kind = serializers.ChoiceField(choices=Kind.values)
    expression = serializers.CharField(help_text=_("A cron expression, or seconds."))
    timezone = serializers.CharField()
    description = serializers.CharField(help_text=_("The expression in plain English."))
    state = serializers.ChoiceField(choices=["active", "late", "disabled", "retired"])
    is_enabled = serializers.BooleanField()
    disabled_at = Moment(allow_null=True)
    disabled_by = serializers.CharField(allow_blank=True)
    disable_reason = serializers.CharField(allow_blank=True)
    missed = serializers.ChoiceField(choices=MissedPolicy.values)
    overlap = serializers.ChoiceField(choices=OverlapPolicy.values)
    next_at = Moment(allow_null=True)
    last_at = Moment(allow_null=True, help_text=_("The latest of its times that became a job."))
    upcoming = serializers.ListField(
        child=Moment(), help_text=_("The next five times. None while it does not fire.")
    )


class ScheduleDoneSerializer(ScheduleSerializer):
    """A schedule that something was done to, with the job or the time that it was about."""

    job = serializers.UUIDField(allow_null=True, help_text=_("The job that it was run as."))
    skipped = Moment(allow_null=True, help_text=_("The time that was left out."))


class ScheduleView(TasksView, GenericAPIView):
    """What the views of schedules have in common."""

    permission_classes: Any = (CanViewSchedules,)
    serializer_class: Any = ScheduleSerializer
    queryset = Schedule.objects.none()

    @property
    def alias(self) -> str:
        """The backend whose schedules they are."""
        known = backend()
        return compat.DEFAULT_TASK_BACKEND_ALIAS if known is None else known.alias

    def rows(self) -> Any:
        return scope_schedules(self.request, self.all_rows())

    def all_rows(self) -> Any:
        """Those of everybody."""
        return Schedule.objects.using(database()).filter(backend=self.alias)

    def schedule(self) -> Schedule:
        """The one in the path. Raises Http404."""
        name: str = self.kwargs["name"]
        found = None if "\x00" in name else self.rows().filter(name=name).first()
        if found is None:
            raise Http404
        return found  # type: ignore[no-any-return]


class ScheduleList(ScheduleView):
    """Schedules by their names. Where there are more of them, the header Link leads to the next ones."""

    pagination_class = None
    parameters = ("after",)

    @described(
        "schedules_list",
        responses={200: ScheduleSerializer(many=True)},
        parameters=(("after", str, "query", _("The last name of the answer before.")),),
        tag="schedules",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows, after = self.rows(), request.query_params.get("after", "")
        if "\x00" in after:
            raise serializers.ValidationError({"after": [_("This is no name of a schedule.")]})
        if after:
            rows = rows.filter(name__gt=after)
        found = list(rows.order_by("name")[: MOST + 1])
        response = Response(ScheduleSerializer(map(scheduled, found[:MOST]), many=True).data)
        if len(found) > MOST:
            url = request.build_absolute_uri(f"?{urlencode({'after': found[MOST - 1].name})}")
            response.headers["Link"] = f'<{url}>; rel="next"'
        return response


class ScheduleDetail(ScheduleView):
    """One schedule."""

    @described("schedules_retrieve", responses={200: ScheduleSerializer}, parameters=(NAME,), tag="schedules")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(ScheduleSerializer(scheduled(self.schedule())).data)


@dataclass(frozen=True)
class ActionView:
    """A verb of ``actions`` for schedules, at an address of its own."""

    name: str
    label: Any
    told: str
    permission: type[NeedsPermissions]


DEEDS = (
    ActionView(
        "enable", _("Enable"), "Have a schedule fire again, from its next time on.", CanEnableSchedules
    ),
    ActionView(
        "disable", _("Disable"), "Have a schedule fire no more until it is enabled.", CanEnableSchedules
    ),
    ActionView(
        "run", _("Run now"), "Enqueue a job of a schedule now. Its times stay as they are.", CanRunSchedules
    ),
    ActionView(
        "skip",
        _("Skip the next run"),
        "Leave out the next time of a schedule, and no other.",
        CanRunSchedules,
    ),
    ActionView(
        "delete",
        _("Delete"),
        "Delete a schedule that no code declares, with what is on record of its times. Its jobs stay.",
        CanDeleteSchedules,
    ),
)


class ScheduleAction(ScheduleView):
    """Something that is done to a schedule. Answers the schedule as it is then."""

    throttle_classes: Any = (ActionThrottle,)
    serializer_class: Any = ReasonSerializer
    deed: ActionView

    def act(self, request: Request) -> Response:
        values, row = validated(self.serializer_class, request), self.schedule()
        more = values | {"backend": self.alias, "user": request.user}
        if self.deed.name == "disable":
            more["by"] = request.user.get_username()[:255]
        flag = actions.DELETION if self.deed.name == "delete" else actions.CHANGE
        with refusing(), transaction.atomic(using=database()):
            answer = getattr(actions, f"{self.deed.name}_schedule")(row.name, **more)
            if answer.job_id is not None:
                access.refuse_outside(request, [answer.job_id], database())
            if answer.done:
                record(request, Schedule, [(row.pk, row.name)], self.deed.label, values, flag)
        if self.deed.name == "delete":
            return Response(status=204)
        if self.deed.name == "skip" and not answer.done:
            raise Conflict(_("It has no next time to leave out."))
        data = scheduled(self.schedule()) | {"job": answer.job_id, "skipped": answer.tick}
        return Response(ScheduleDoneSerializer(data).data)


@contextmanager
def refusing() -> Iterator[None]:
    """What a verb cannot do with a schedule as it is. Raises Conflict."""
    try:
        yield
    except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
        raise Conflict(str(error)) from None


def of_one(deed: ActionView) -> type[ScheduleAction]:
    """The view of a verb."""

    class View(ScheduleAction):
        permission_classes: Any = (deed.permission,)

        @described(
            f"schedules_{deed.name}",
            request=ReasonSerializer,
            responses={204: None} if deed.name == "delete" else {200: ScheduleDoneSerializer},
            errors=(409, 413, 415),
            parameters=(NAME,),
            tag="schedules",
        )
        def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            return self.act(request)

    View.deed, View.__doc__, View.__name__ = deed, deed.told, f"Schedule{deed.name.title()}"
    return View


class SaveSerializer(ReasonSerializer):
    """What a schedule enqueues and when: by a cron expression, or every so many seconds."""

    task = Text(max_length=options.MAX_NAME)
    arguments = Arguments(required=False, allow_null=True, default=None)
    cron = Text(max_length=255, required=False, allow_null=True, default=None)
    every = Whole(required=False, allow_null=True, default=None, min_value=1, max_value=2**31 - 1)
    timezone = Text(max_length=64, required=False, allow_null=True, default=None)
    missed = serializers.ChoiceField(choices=MissedPolicy.values, required=False, default=MissedPolicy.ONE)
    overlap = serializers.ChoiceField(
        choices=OverlapPolicy.values, required=False, default=OverlapPolicy.ALLOW
    )
    queue = QueueName(
        max_length=options.MAX_QUEUE_NAME,
        required=False,
        allow_null=True,
        default=None,
        source="queue_name",
    )
    priority = Whole(
        min_value=compat.TASK_MIN_PRIORITY,
        max_value=compat.TASK_MAX_PRIORITY,
        required=False,
        allow_null=True,
        default=None,
    )


class ScheduleSave(ScheduleView):
    """Make a schedule, or give the one of that name other values. Of tasks that say ``api=True`` only."""

    permission_classes = (CanSaveSchedules,)
    throttle_classes = (ActionThrottle,)
    serializer_class = SaveSerializer

    @described(
        "schedules_save",
        request=SaveSerializer,
        responses={200: ScheduleSerializer, 201: ScheduleSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="schedules",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        values, name = validated(self.serializer_class, request), self.kwargs["name"]
        values |= self._call(request, values.pop("task"), values.pop("arguments") or {})
        self._check(name, values)
        origin = self.rows().filter(name=name).values_list("origin", flat=True).first()
        label, flag, status = _("Edited"), actions.CHANGE, 200
        if origin is None:
            label, flag, status = _("Added"), actions.ADDITION, 201
            if self.all_rows().filter(name=name).exists():
                raise PermissionDenied(_("This would be a schedule that you may not see."))
        try:
            with transaction.atomic(using=database()):
                actions.save_schedule(name, backend=self.alias, user=request.user, **values)
                row = self.all_rows().get(name=name)
                access.refuse_schedule(request, row, database())
                record(request, Schedule, [(row.pk, name)], label, {"reason": values["reason"]}, flag)
        except (TypeError, ValueError, compat.InvalidTask) as error:
            if origin == Origin.CODE:
                raise Conflict(str(error)) from None
            raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None
        return Response(ScheduleSerializer(scheduled(row)).data, status)

    def _call(self, request: Request, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """The task and its arguments, as far as this user may enqueue that. Raises as that does."""
        task = permitted(request, name)
        try:
            args, kwargs = task.encoded(*agreed(request, task, given))
        except ArgumentErrors as error:
            raise serializers.ValidationError({"arguments": error.errors}) from None
        return {"task_name": task.name, "args": args, "kwargs": kwargs}

    def _check(self, name: str, values: dict[str, Any]) -> None:
        """Raises ValidationError for a name or a time that no schedule can have."""
        cron, every, zone = values["cron"], values["every"], values["timezone"] or settings.TIME_ZONE
        if (cron is None) == (every is None):
            told = [_("Name a cron expression or a number of seconds.")]
            raise serializers.ValidationError({"non_field_errors": told})
        for field, check in (
            ("name", lambda: schedule_name(name)),
            ("timezone", lambda: zone_of(zone)),
            ("every" if cron is None else "cron", lambda: timing_of(cron=cron, every=every, timezone=zone)),
        ):
            try:
                check()
            except ValueError as error:
                raise serializers.ValidationError({field: [str(error)]}) from None
