"""The views that return jobs."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.http import parse_etags
from django.utils.translation import gettext_lazy as _
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from .. import compat
from ..backends import DatabaseBackend
from ..lifecycle.states import FINAL, JobStatus
from ..models import Job, LogLine
from ..results.waiter import Waiter
from .base import TasksView
from .filters import FILTERS, JobFilter, filter_backends
from .openapi import described
from .pagination import JobPagination, NumberPagination
from .permissions import CanViewPayload, may_see_payload
from .serializers import (
    AttemptSerializer,
    JobDetailSerializer,
    JobSerializer,
    LogLineSerializer,
    Payload,
    ProgressSerializer,
    attempts_of,
)

if TYPE_CHECKING:
    from ..models.job import JobQuerySet

    ListAPIView = generics.ListAPIView[Any]
    GenericAPIView = generics.GenericAPIView[Any]
else:
    ListAPIView = generics.ListAPIView
    GenericAPIView = generics.GenericAPIView

#: The longest time of a long poll, in seconds. Common proxies give up after 30.
MAX_WAIT = 25.0
SECONDS = {"type": "number", "minimum": 0, "maximum": 1e6}
ID = ("id", str, "path", _("The id of the job."))


class JobList(TasksView, ListAPIView):
    """Jobs, the newest first, by filters."""

    serializer_class = JobSerializer
    filter_backends = filter_backends
    pagination_class = JobPagination
    filterset_class = JobFilter
    parameters = (*FILTERS, *JobPagination.parameters)

    def get_queryset(self) -> JobQuerySet:
        return self.jobs().with_reasons()

    @described("jobs_list", responses={200: JobSerializer(many=True)}, errors=(503,), tag="jobs")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with self.reading():
            return super().get(request, *args, **kwargs)


class JobView(TasksView, GenericAPIView):
    """A view of one job that the request may see."""

    queryset = Job.objects.none()
    serializer_class: Any = JobDetailSerializer

    def whole(self, job: Job) -> dict[str, Any]:
        """Return all that this request may see of a job."""
        data: dict[str, Any] = JobDetailSerializer(job, context=self.payload_of(job)).data
        return data

    def payload_of(self, job: Job) -> dict[str, Any]:
        """Return the context of the serializers: with ``payload`` if this request may see it."""
        payload = Payload(job)
        return {"masks": payload, **({"payload": payload} if may_see_payload(self.request) else {})}


class JobDetail(JobView):
    """One job, with its arguments, its result, its progress and its attempts."""

    parameters = ("wait",)

    @described(
        "jobs_retrieve",
        responses={200: JobDetailSerializer, 304: None},
        parameters=(
            ID,
            ("wait", SECONDS, "query", _("Seconds to wait for the end of the job, at most 25.")),
            (
                "If-None-Match",
                str,
                "header",
                _("The ETag of an earlier response: 304 if nothing has changed."),
            ),
        ),
        tag="jobs",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        seconds = wait_of(request)
        job = self.job(self.jobs().select_related("progress"))
        if seconds and job.status not in FINAL:
            wait_for(job, seconds, self.jobs())
            job = self.job(self.jobs().select_related("progress"))
        response = response_if_changed(request, self.whole(job))
        if (pause := retry_after(job)) is not None:
            response.headers["Retry-After"] = str(pause)
        return response


class JobAttempts(JobView):
    """The latest recorded attempts of a job, in their order."""

    serializer_class = AttemptSerializer
    pagination_class = None

    @described("jobs_attempts", responses={200: AttemptSerializer(many=True)}, parameters=(ID,), tag="jobs")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        job = self.job()
        return Response(attempts_of(job, self.payload_of(job)))


class JobProgress(JobView):
    """The status of a job, and the progress that its last attempt has reported."""

    serializer_class = ProgressSerializer

    @described(
        "jobs_progress",
        responses={
            200: {
                "type": "object",
                "properties": {
                    "status": {"type": "string"},
                    "progress": {"type": "object", "additionalProperties": {}, "nullable": True},
                },
                "required": ["status", "progress"],
            },
            304: None,
        },
        parameters=(
            ID,
            (
                "If-None-Match",
                str,
                "header",
                _("The ETag of an earlier response: 304 if nothing has changed."),
            ),
        ),
        tag="jobs",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        job = self.job(self.jobs().defer("options", "result", "metadata").select_related("progress"))
        response = response_if_changed(request, self.state(job))
        if (pause := retry_after(job)) is not None:
            response.headers["Retry-After"] = str(pause)
        return response

    def state(self, job: Job) -> dict[str, Any]:
        progress = getattr(job, "progress", None)
        return {
            "status": job.status,
            "progress": progress and ProgressSerializer(progress, context=self.payload_of(job)).data,
        }


class JobLogs(TasksView, ListAPIView):
    """The lines that the attempts of a job have logged, the oldest first."""

    permission_classes = (CanViewPayload,)
    serializer_class = LogLineSerializer
    pagination_class = NumberPagination
    parameters = NumberPagination.parameters
    queryset = LogLine.objects.none()

    def get_queryset(self) -> Any:
        self._job = self.job()
        return LogLine.objects.using(self._job._state.db).filter(job_id=self._job.id)

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "payload": Payload(self._job)}

    @described(
        "jobs_logs",
        responses={200: LogLineSerializer(many=True)},
        errors=(503,),
        parameters=(ID,),
        tag="jobs",
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with self.reading():
            return super().get(request, *args, **kwargs)


def wait_of(request: Request) -> float:
    """Return the seconds that a request asks to wait, at most MAX_WAIT. Raise ValidationError."""
    given = request.query_params.get("wait")
    if given is None:
        return 0.0
    try:
        seconds = float(given)
        if not 0 <= seconds < 1e9:
            raise ValueError
    except ValueError:
        raise ValidationError({"wait": [_("Must be a number of seconds.")]}) from None
    return min(seconds, MAX_WAIT)


def wait_for(job: Job, seconds: float, jobs: JobQuerySet) -> None:
    """Wait for the end of a job, at most so many seconds."""
    backend = backend_of(job.backend)
    storage, notify = (None, False) if backend is None else (backend.storage, backend.settings.notify)
    # Long polls have no session while they wait: there may be a thousand.
    waiter = Waiter(storage, job.backend, str(job.id), seconds, notify=notify, keep_sessions=False)
    with waiter as waiting:
        for pause in waiting.pauses():
            status = jobs.filter(id=job.id).values_list("status", flat=True).first()
            if status is None or status in FINAL:
                return
            waiting.sleep(pause)


def backend_of(alias: str) -> DatabaseBackend | None:
    """Return the DatabaseBackend with this alias, or None if TASKS has none."""
    try:
        found = compat.task_backends[alias]
    except compat.InvalidTaskBackend:
        return None
    return found if isinstance(found, DatabaseBackend) else None


def retry_after(job: Job) -> int | None:
    """Return the seconds after which a client should ask for a job again, or None if the job has ended."""
    if job.status in FINAL:
        return None
    if job.status == JobStatus.SCHEDULED and job.run_after is not None:
        return min(max(1, round((job.run_after - timezone.now()).total_seconds())), 60)
    return 1


def response_if_changed(request: Request, data: Any) -> Response:
    """Return a response with the data, or with status 304 if the request names their ETag."""
    text = json.dumps(data, cls=JSONEncoder, sort_keys=True)
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    etags = [tag.removeprefix("W/") for tag in parse_etags(request.headers.get("If-None-Match", ""))]
    response = Response(status=304) if etag in etags or "*" in etags else Response(data)
    response.headers["ETag"] = etag
    return response
