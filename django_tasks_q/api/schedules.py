"""Schedules over HTTP."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from .. import _framework as framework
from .. import actions
from ..descriptions import scheduled
from ..exceptions import TaskNotRegistered
from ..models import Schedule
from ..models.schedule import Kind, MissedPolicy, Origin, OverlapPolicy
from ..scope import backend, database
from .base import TasksView
from .errors import Conflict
from .jobs import GenericAPIView
from .openapi import described
from .permissions import CanEnableSchedules, CanRunSchedules, CanViewSchedules
from .queues import ReasonSerializer, record, validated
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
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_by = serializers.CharField(allow_blank=True)
    disable_reason = serializers.CharField(allow_blank=True)
    missed = serializers.ChoiceField(choices=MissedPolicy.values)
    overlap = serializers.ChoiceField(choices=OverlapPolicy.values)
    next_at = serializers.DateTimeField(allow_null=True)
    last_at = serializers.DateTimeField(
        allow_null=True, help_text=_("The latest of its times that became a job.")
    )
    upcoming = serializers.ListField(
        child=serializers.DateTimeField(), help_text=_("The next five times. None while it does not fire.")
    )


class ScheduleDoneSerializer(ScheduleSerializer):
    """A schedule that something was done to, with the job or the time that it was about."""

    job = serializers.UUIDField(allow_null=True, help_text=_("The job that it was run as."))
    skipped = serializers.DateTimeField(allow_null=True, help_text=_("The time that was left out."))


class ScheduleView(TasksView, GenericAPIView):
    """What the views of schedules have in common."""

    permission_classes: Any = (CanViewSchedules,)
    serializer_class: Any = ScheduleSerializer
    queryset = Schedule.objects.none()

    @property
    def alias(self) -> str:
        """The backend whose schedules they are."""
        known = backend()
        return framework.DEFAULT_TASK_BACKEND_ALIAS if known is None else known.alias

    def rows(self) -> Any:
        return Schedule.objects.using(database()).filter(backend=self.alias)

    def schedule(self) -> Schedule:
        """The one in the path. Raises Http404."""
        name: str = self.kwargs["name"]
        found = None if "\x00" in name else self.rows().filter(name=name).first()
        if found is None:
            raise Http404
        return found  # type: ignore[no-any-return]


class ScheduleList(ScheduleView):
    """All schedules, by their names."""

    pagination_class = None

    @described("schedules_list", responses={200: ScheduleSerializer(many=True)}, tag="schedules")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        rows = [scheduled(row) for row in self.rows().order_by("name")[:MOST]]
        return Response(ScheduleSerializer(rows, many=True).data)


class ScheduleDetail(ScheduleView):
    """One schedule."""

    @described("schedules_retrieve", responses={200: ScheduleSerializer}, parameters=(NAME,), tag="schedules")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(ScheduleSerializer(scheduled(self.schedule())).data)


class ScheduleAction(ScheduleView):
    """Something that is done to a schedule."""

    throttle_classes = (ActionThrottle,)
    serializer_class = ReasonSerializer
    label: Any

    def perform(self, name: str, values: dict[str, Any]) -> actions.ScheduleDone:
        raise NotImplementedError

    def done(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        row = self.schedule()
        try:
            with transaction.atomic(using=database()):
                answer = self.perform(row.name, values | {"backend": self.alias, "user": request.user})
                if answer.done:
                    record(request, Schedule, [(row.pk, row.name)], self.label, values)
        except (TaskNotRegistered, TypeError, ValueError, framework.InvalidTask) as error:
            raise Conflict(str(error)) from None
        data = scheduled(self.schedule()) | {"job": answer.job_id, "skipped": answer.tick}
        return Response(ScheduleDoneSerializer(data).data)


class ScheduleEnable(ScheduleAction):
    """Have a schedule fire again, from its next time on."""

    label = _("Enable")
    permission_classes = (CanEnableSchedules,)

    def perform(self, name: str, values: dict[str, Any]) -> actions.ScheduleDone:
        return actions.enable_schedule(name, **values)

    @described(
        "schedules_enable",
        request=ReasonSerializer,
        responses={200: ScheduleDoneSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="schedules",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)


class ScheduleDisable(ScheduleAction):
    """Have a schedule fire no more until it is enabled."""

    label = _("Disable")
    permission_classes = (CanEnableSchedules,)

    def perform(self, name: str, values: dict[str, Any]) -> actions.ScheduleDone:
        return actions.disable_schedule(name, by=self.request.user.get_username()[:255], **values)

    @described(
        "schedules_disable",
        request=ReasonSerializer,
        responses={200: ScheduleDoneSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="schedules",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)


class ScheduleRun(ScheduleAction):
    """Enqueue a job of a schedule now. Its times stay as they are."""

    label = _("Run now")
    permission_classes = (CanRunSchedules,)

    def perform(self, name: str, values: dict[str, Any]) -> actions.ScheduleDone:
        return actions.run_schedule(name, **values)

    @described(
        "schedules_run",
        request=ReasonSerializer,
        responses={200: ScheduleDoneSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="schedules",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)


class ScheduleSkip(ScheduleAction):
    """Leave out the next time of a schedule, and no other."""

    label = _("Skip the next run")
    permission_classes = (CanRunSchedules,)

    def perform(self, name: str, values: dict[str, Any]) -> actions.ScheduleDone:
        answer = actions.skip_schedule(name, **values)
        if not answer.done:
            raise Conflict(_("It has no next time to leave out."))
        return answer

    @described(
        "schedules_skip",
        request=ReasonSerializer,
        responses={200: ScheduleDoneSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="schedules",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)
