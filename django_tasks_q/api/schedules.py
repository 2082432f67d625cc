"""The views of schedules."""

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
from .tasks import checked_arguments, open_task
from .throttling import ActionThrottle

NAME = ("name", str, "path", _("The name of the schedule."))
#: The most schedules of one response.
MAX_SCHEDULES = 1000


class ScheduleSerializer(serializers.Serializer[Any]):
    """A schedule: what it enqueues and when, and its state. The arguments of its jobs are not included."""

    name = serializers.CharField()
    task = serializers.CharField()
    queue = serializers.CharField(allow_blank=True, help_text=_("Empty for that of the task."))
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
    last_at = Moment(allow_null=True, help_text=_("The last of its times for which a job was enqueued."))
    upcoming = serializers.ListField(
        child=Moment(), help_text=_("The next five times. Empty while the schedule does not fire.")
    )


class ScheduleDoneSerializer(ScheduleSerializer):
    """A schedule after an action, with the job or the time that the action was about."""

    job = serializers.UUIDField(allow_null=True, help_text=_("The new job, if the schedule was run."))
    skipped = Moment(allow_null=True, help_text=_("The time that was skipped, if one was."))


class ScheduleView(TasksView, GenericAPIView):
    """The base class of the views of schedules."""

    permission_classes: Any = (CanViewSchedules,)
    serializer_class: Any = ScheduleSerializer
    queryset = Schedule.objects.none()

    @property
    def alias(self) -> str:
        """The alias of the backend of the schedules."""
        known = backend()
        return compat.DEFAULT_TASK_BACKEND_ALIAS if known is None else known.alias

    def rows(self) -> Any:
        """Return the schedules that this request may see."""
        return scope_schedules(self.request, self.all_rows())

    def all_rows(self) -> Any:
        """Return all schedules, also those that this request may not see."""
        return Schedule.objects.using(database()).filter(backend=self.alias)

    def schedule(self) -> Schedule:
        """Return the schedule in the path. Raise Http404."""
        name: str = self.kwargs["name"]
        found = None if "\x00" in name else self.rows().filter(name=name).first()
        if found is None:
            raise Http404
        return found  # type: ignore[no-any-return]


class ScheduleList(ScheduleView):
    """Schedules, ordered by name. If there are more, the header Link has the address of the next page."""

    pagination_class = None
    parameters = ("after",)

    @described(
        "schedules_list",
        responses={200: ScheduleSerializer(many=True)},
        parameters=(("after", str, "query", _("The last name of the previous page.")),),
        tag="schedules",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows, after = self.rows(), request.query_params.get("after", "")
        if "\x00" in after:
            raise serializers.ValidationError({"after": [_("This cannot be the name of a schedule.")]})
        if after:
            rows = rows.filter(name__gt=after)
        found = list(rows.order_by("name")[: MAX_SCHEDULES + 1])
        response = Response(ScheduleSerializer(map(scheduled, found[:MAX_SCHEDULES]), many=True).data)
        if len(found) > MAX_SCHEDULES:
            url = request.build_absolute_uri(f"?{urlencode({'after': found[MAX_SCHEDULES - 1].name})}")
            response.headers["Link"] = f'<{url}>; rel="next"'
        return response


class ScheduleDetail(ScheduleView):
    """One schedule."""

    @described("schedules_retrieve", responses={200: ScheduleSerializer}, parameters=(NAME,), tag="schedules")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(ScheduleSerializer(scheduled(self.schedule())).data)


@dataclass(frozen=True)
class Verb:
    """An action on a schedule, with its own address."""

    name: str
    label: Any
    description: str
    permission: type[NeedsPermissions]


VERBS = (
    Verb("enable", _("Enable"), "Let a schedule fire again, from its next time on.", CanEnableSchedules),
    Verb("disable", _("Disable"), "Stop a schedule from firing until it is enabled.", CanEnableSchedules),
    Verb(
        "run", _("Run now"), "Enqueue a job of a schedule now. Its times stay as they are.", CanRunSchedules
    ),
    Verb(
        "skip",
        _("Skip the next run"),
        "Skip the next time of a schedule, and no other.",
        CanRunSchedules,
    ),
    Verb(
        "delete",
        _("Delete"),
        "Delete a schedule that no code declares, with the record of its times. Its jobs stay.",
        CanDeleteSchedules,
    ),
)


class ScheduleAction(ScheduleView):
    """The base class of actions on a schedule. They return the schedule as it is afterwards."""

    throttle_classes: Any = (ActionThrottle,)
    serializer_class: Any = ReasonSerializer
    verb: Verb

    def act(self, request: Request) -> Response:
        values, row = validated(self.serializer_class, request), self.schedule()
        more = values | {"backend": self.alias, "user": request.user}
        if self.verb.name == "disable":
            more["by"] = request.user.get_username()[:255]
        flag = actions.DELETION if self.verb.name == "delete" else actions.CHANGE
        with conflicts(), transaction.atomic(using=database()):
            done = getattr(actions, f"{self.verb.name}_schedule")(row.name, **more)
            if done.job_id is not None:
                access.refuse_outside(request, [done.job_id], database())
            if done.done:
                record(request, Schedule, [(row.pk, row.name)], self.verb.label, values, flag)
        if self.verb.name == "delete":
            return Response(status=204)
        if self.verb.name == "skip" and not done.done:
            raise Conflict(_("It has no next time to leave out."))
        data = scheduled(self.schedule()) | {"job": done.job_id, "skipped": done.tick}
        return Response(ScheduleDoneSerializer(data).data)


@contextmanager
def conflicts() -> Iterator[None]:
    """Raise Conflict for the errors of actions that the state of the schedule does not allow."""
    try:
        yield
    except (TaskNotRegistered, TypeError, ValueError, compat.InvalidTask) as error:
        raise Conflict(str(error)) from None


def verb_view(verb: Verb) -> type[ScheduleAction]:
    """Return the view of a verb."""

    class View(ScheduleAction):
        permission_classes: Any = (verb.permission,)

        @described(
            f"schedules_{verb.name}",
            request=ReasonSerializer,
            responses={204: None} if verb.name == "delete" else {200: ScheduleDoneSerializer},
            errors=(409, 413, 415),
            parameters=(NAME,),
            tag="schedules",
        )
        def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            return self.act(request)

    View.verb, View.__doc__, View.__name__ = verb, verb.description, f"Schedule{verb.name.title()}"
    return View


class SaveSerializer(ReasonSerializer):
    """What a schedule enqueues and when: by a cron expression, or by an interval in seconds."""

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
    """Add a schedule, or change the schedule with this name. Only for tasks with ``api=True``."""

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
        """Return the task and its arguments. Raise the same errors as a request to enqueue the task."""
        task = open_task(request, name)
        try:
            args, kwargs = task.encoded(*checked_arguments(request, task, given))
        except ArgumentErrors as error:
            raise serializers.ValidationError({"arguments": error.errors}) from None
        return {"task_name": task.name, "args": args, "kwargs": kwargs}

    def _check(self, name: str, values: dict[str, Any]) -> None:
        """Raise ValidationError for a name or a time that no schedule can have."""
        cron, every, zone = values["cron"], values["every"], values["timezone"] or settings.TIME_ZONE
        if (cron is None) == (every is None):
            message = [_("Name a cron expression or a number of seconds.")]
            raise serializers.ValidationError({"non_field_errors": message})
        for field, check in (
            ("name", lambda: schedule_name(name)),
            ("timezone", lambda: zone_of(zone)),
            ("every" if cron is None else "cron", lambda: timing_of(cron=cron, every=every, timezone=zone)),
        ):
            try:
                check()
            except ValueError as error:
                raise serializers.ValidationError({field: [str(error)]}) from None
