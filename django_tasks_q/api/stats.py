"""The views of statistics and of the health of workers."""

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

#: How far back statistics go, in hours.
MAX_HOURS = 24 * 7
#: The statuses that have an index of their own. To count others could read all jobs.
COUNTED = (JobStatus.READY, JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.FAILED)
#: The most tasks of a response, the busiest first.
MAX_TASKS = 50


HOURS = {"type": "integer", "minimum": 1, "maximum": MAX_HOURS, "default": 24}


class StatsParameters(serializers.Serializer[Any]):
    """How far back statistics go."""

    hours = serializers.IntegerField(min_value=1, max_value=MAX_HOURS, default=24)


class FiguresSerializer(serializers.Serializer[Any]):
    """What happened to jobs in a period."""

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
    """What happened to the jobs of one task in a period."""

    task = serializers.CharField(source="task_name")


class CountedSerializer(serializers.Serializer[Any]):
    """The number of jobs in a status, counted up to 10,000."""

    count = serializers.IntegerField(source="number")
    is_capped = serializers.BooleanField()


class StatsSerializer(serializers.Serializer[Any]):
    """Statistics of all jobs.

    ``totals`` and ``tasks`` are null if SCOPE_JOBS hides jobs, since they include the hidden ones.
    """

    jobs = serializers.DictField(
        child=CountedSerializer(),
        help_text=_("By status: READY, SCHEDULED, RUNNING and FAILED."),
    )
    oldest_ready_age = Finite(allow_null=True, help_text=_("In seconds."))
    hours = serializers.IntegerField(help_text=_("How far back totals and tasks go."))
    totals = FiguresSerializer(allow_null=True)
    tasks = TaskFiguresSerializer(many=True, allow_null=True, help_text=_("The 50 busiest tasks."))


class HealthSerializer(serializers.Serializer[Any]):
    """Whether workers are alive."""

    healthy = serializers.BooleanField()
    workers_alive = serializers.IntegerField()
    workers_late = serializers.IntegerField(
        help_text=_("Workers whose lease is over although they have not stopped.")
    )


class Stats(TasksView, GenericAPIView):
    """The numbers of jobs in each status, and statistics of the last hours."""

    permission_classes = (CanViewJobs,)
    serializer_class = StatsSerializer
    queryset = Job.objects.none()
    parameters = ("hours",)

    @described(
        "stats",
        responses={200: StatsSerializer},
        errors=(503,),
        parameters=(("hours", HOURS, "query", _("How far back statistics go: 1 to 168, by default 24.")),),
        tag="stats",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        parameters = StatsParameters(data=request.query_params.dict())
        parameters.is_valid(raise_exception=True)
        with self.reading():
            return Response(StatsSerializer(self.figures(parameters.validated_data["hours"])).data)

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
    """Whether a worker is alive: status 200 if so, else 503. For load balancers and alarms."""

    permission_classes: Any = (CanViewWorkers,)
    serializer_class = HealthSerializer
    queryset = Worker.objects.none()

    def is_public(self) -> bool:
        known = backend()
        return known is not None and known.settings.public_health

    def get_authenticators(self) -> Any:
        # A load balancer has no credentials. Credentials in other requests are not checked.
        return [] if self.is_public() else super().get_authenticators()

    def get_permissions(self) -> Any:
        return [] if self.is_public() else super().get_permissions()

    @described("health", responses={200: HealthSerializer, 503: HealthSerializer}, tag="stats")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if not self.is_public() and is_narrowed(request):
            # Workers run the jobs of all tenants.
            raise PermissionDenied
        running = Worker.objects.using(database()).filter(stopped_at__isnull=True)
        found = running.aggregate(
            alive=CountOf("id", filter=Q(lease_expires_at__gt=timezone.now())), all=CountOf("id")
        )
        data = {
            "healthy": found["alive"] > 0,
            "workers_alive": found["alive"],
            "workers_late": found["all"] - found["alive"],
        }
        return Response(HealthSerializer(data).data, 200 if data["healthy"] else 503)
