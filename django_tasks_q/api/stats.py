"""Figures over all jobs, and whether somebody works on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Count as CountOf
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from .. import compat
from ..access import backend, database, is_narrowed
from ..lifecycle.states import JobStatus
from ..models import Job, Statistic, Worker
from ..storage.orm.counting import counts
from .base import TasksView
from .fields import Finite
from .jobs import GenericAPIView
from .openapi import described
from .permissions import CanViewJobs, CanViewWorkers

#: How far back figures go, in hours.
MAX_HOURS = 24 * 7
#: The statuses that have an index of their own. To count another one may take a look at every job there is.
COUNTED = (JobStatus.READY, JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.FAILED)
#: Tasks that are told of, the busiest first.
MAX_TASKS = 50


HOURS = {"type": "integer", "minimum": 1, "maximum": MAX_HOURS, "default": 24}


class StatsParameters(serializers.Serializer[Any]):
    """How far back figures go."""

    hours = serializers.IntegerField(min_value=1, max_value=MAX_HOURS, default=24)


class FiguresSerializer(serializers.Serializer[Any]):
    """What happened to jobs in some time."""

    started = serializers.IntegerField()
    successful = serializers.IntegerField()
    failed = serializers.IntegerField()
    retried = serializers.IntegerField()
    crashed = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    expired = serializers.IntegerField()
    seconds_run = Finite()
    seconds_waited = Finite()


class TaskFiguresSerializer(FiguresSerializer):
    """The same of one task."""

    task = serializers.CharField(source="task_name")


class CountedSerializer(serializers.Serializer[Any]):
    """How many jobs are in a status, counted up to 10,000."""

    count = serializers.IntegerField(source="number")
    is_capped = serializers.BooleanField()


class StatsSerializer(serializers.Serializer[Any]):
    """Figures over all jobs.

    ``totals`` and ``tasks`` are null where SCOPE_JOBS hides jobs: they are over those of everybody.
    """

    jobs = serializers.DictField(
        child=CountedSerializer(),
        help_text=_("By status: READY, SCHEDULED, RUNNING and FAILED ones."),
    )
    oldest_ready_age = Finite(allow_null=True, help_text=_("In seconds."))
    hours = serializers.IntegerField(help_text=_("How far back the rest goes."))
    totals = FiguresSerializer(allow_null=True)
    tasks = TaskFiguresSerializer(many=True, allow_null=True, help_text=_("The 50 busiest."))


class HealthSerializer(serializers.Serializer[Any]):
    """Whether jobs are being worked on."""

    healthy = serializers.BooleanField()
    workers_alive = serializers.IntegerField()
    workers_late = serializers.IntegerField(help_text=_("Those whose lease is over, and who did not stop."))


class Stats(TasksView, GenericAPIView):
    """How many jobs there are in each status, and what became of the others lately."""

    permission_classes = (CanViewJobs,)
    serializer_class = StatsSerializer
    queryset = Job.objects.none()
    parameters = ("hours",)

    @described(
        "stats",
        responses={200: StatsSerializer},
        errors=(503,),
        parameters=(("hours", HOURS, "query", _("How far back figures go: 1 to 168, by default 24.")),),
        tag="stats",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        asked = StatsParameters(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        with self.reading():
            return Response(StatsSerializer(self.figures(asked.validated_data["hours"])).data)

    def figures(self, hours: int) -> dict[str, Any]:
        jobs, alias = self.jobs(), database()
        counted = counts({status: jobs.filter(status=status) for status in COUNTED}, "enqueued_at", alias)
        oldest = counted[JobStatus.READY].least
        data: dict[str, Any] = {
            "jobs": {status.value: count for status, count in counted.items()},
            "oldest_ready_age": oldest and max(0.0, (timezone.now() - oldest).total_seconds()),
            "hours": hours,
            "totals": None,
            "tasks": None,
        }
        if not is_narrowed(self.request):
            known = backend()
            of = compat.DEFAULT_TASK_BACKEND_ALIAS if known is None else known.alias
            since = timezone.now() - timedelta(hours=hours)
            figures = Statistic.objects.using(alias).of(of)
            data["totals"] = figures.since(since).totals()
            data["tasks"] = figures.by_task(since)[:MAX_TASKS]
        return data


class Health(TasksView, GenericAPIView):
    """Whether a worker is alive: 200 if so, else 503. For load balancers and alarms."""

    permission_classes: Any = (CanViewWorkers,)
    serializer_class = HealthSerializer
    queryset = Worker.objects.none()

    def is_public(self) -> bool:
        known = backend()
        return known is not None and known.settings.public_health

    def get_authenticators(self) -> Any:
        # A load balancer has no credentials, and what it sends for others is of no matter.
        return [] if self.is_public() else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [] if self.is_public() else super().get_permissions()

    @described("health", responses={200: HealthSerializer, 503: HealthSerializer}, tag="stats")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if not self.is_public() and is_narrowed(request):
            # What workers there are is about everybody's jobs.
            raise PermissionDenied
        known = Worker.objects.using(database()).filter(stopped_at__isnull=True)
        found = known.aggregate(
            alive=CountOf("id", filter=Q(lease_expires_at__gt=timezone.now())), all=CountOf("id")
        )
        data = {
            "healthy": found["alive"] > 0,
            "workers_alive": found["alive"],
            "workers_late": found["all"] - found["alive"],
        }
        return Response(HealthSerializer(data).data, 200 if data["healthy"] else 503)
