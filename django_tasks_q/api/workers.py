"""The views of workers."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions
from ..access import database, is_narrowed
from ..models import Worker
from .base import TasksView
from .errors import Conflict
from .jobs import GenericAPIView, ListAPIView
from .openapi import described
from .pagination import IdPagination
from .permissions import CanStopWorkers, CanViewWorkers
from .queues import ReasonSerializer, record, validated
from .serializers import WorkerSerializer
from .throttling import ActionThrottle

ID = ("id", str, "path", _("The id of the worker."))


def workers(request: Request) -> Any:
    """Return the workers that a request may see: none if jobs are hidden from it: workers run all jobs."""
    rows = Worker.objects.using(database())
    return rows.none() if is_narrowed(request) else rows


class WorkerList(TasksView, ListAPIView):
    """Workers that are alive, or were in the last day."""

    permission_classes = (CanViewWorkers,)
    serializer_class: Any = WorkerSerializer
    pagination_class = IdPagination
    parameters = IdPagination.parameters

    def get_queryset(self) -> Any:
        return workers(self.request).order_by("-id")

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": timezone.now()}

    @described("workers_list", responses={200: WorkerSerializer(many=True)}, tag="workers")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class WorkerDetail(TasksView, GenericAPIView):
    """One worker."""

    permission_classes: Any = (CanViewWorkers,)
    serializer_class: Any = WorkerSerializer
    queryset = Worker.objects.none()

    @described("workers_retrieve", responses={200: WorkerSerializer}, parameters=(ID,), tag="workers")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(self.shown(self.worker()))

    def worker(self) -> Worker:
        found: Worker | None = workers(self.request).filter(id=self.job_id()).first()
        if found is None:
            raise Http404
        return found

    def shown(self, worker: Worker) -> Any:
        return WorkerSerializer(worker, context={"now": timezone.now()}).data


class WorkerStop(WorkerDetail):
    """Ask a worker to finish its running jobs, and to stop."""

    permission_classes = (CanStopWorkers,)
    throttle_classes = (ActionThrottle,)
    serializer_class = ReasonSerializer
    http_method_names = ("post", "options")

    @described(
        "workers_stop",
        request=ReasonSerializer,
        responses={200: WorkerSerializer},
        errors=(409, 413, 415),
        parameters=(ID,),
        tag="workers",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        values = validated(self.serializer_class, request)
        worker = self.worker()
        with transaction.atomic(using=database()):
            done = actions.stop_worker(worker.id, user=request.user, **values)
            if done.done:
                record(request, Worker, [(worker.id, worker.name)], _("Stop"), values)
        if done.skipped.get(actions.Reason.ENDED):
            raise Conflict(_("The worker has ended."), state="STOPPED")
        return Response(self.shown(self.worker()))
