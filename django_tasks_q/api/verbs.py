"""What can be done to jobs over HTTP: to one, and to all that a filter finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions
from ..exceptions import TaskNotRegistered, UnserializableValue, UnstorableValue
from ..models import Job
from ..registry import registry
from ..schemas import ArgumentErrors, bound
from ..scope import database
from ..states import JobStatus
from ..task_options import MAX_NAME, MAX_QUEUE_NAME
from .base import TasksView
from .errors import Conflict
from .fields import Arguments, Flag, Text
from .filters import FILTERS, filtered
from .jobs import ID, GenericAPIView, JobView
from .openapi import described
from .permissions import CanCancelJobs, CanChangeJobs, CanDiscardJobs, CanRetryJobs, CanRunAgain
from .queues import ReasonSerializer, validated
from .serializers import JobDetailSerializer, JobSerializer
from .throttling import ActionThrottle

#: Jobs that one request does something to.
CAP = 1000


class RetrySerializer(ReasonSerializer):
    """When failed jobs are run once more; now, without a time."""

    at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class RescheduleSerializer(ReasonSerializer):
    """When waiting jobs are to start."""

    at = serializers.DateTimeField()


class RunAgainSerializer(ReasonSerializer):
    """The arguments of the new job by name; those of the old one, without any."""

    arguments = Arguments(required=False, allow_null=True, default=None)


class FilterSerializer(serializers.Serializer[Any]):
    """Which jobs: the filters of the list by name, at least one of them."""

    status = serializers.ChoiceField(choices=JobStatus.choices, required=False)
    queue = Text(max_length=MAX_QUEUE_NAME, required=False)
    task = Text(max_length=MAX_NAME, required=False)
    tag = Text(max_length=64, required=False)
    parent = serializers.UUIDField(required=False)  # type: ignore[assignment]  # a field, and no attribute
    enqueued_after = serializers.DateTimeField(required=False)
    enqueued_before = serializers.DateTimeField(required=False)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := [name for name in data if name not in FILTERS]):
            raise serializers.ValidationError({name: [_("Unknown filter.")] for name in unknown})
        if data == {}:  # of all jobs there are, nobody means that by accident
            raise serializers.ValidationError([_("Name at least one filter.")])
        values = super().to_internal_value(data)
        # As text again: it is read the way the list reads it.
        return {name: value if isinstance(value, str) else _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class BulkSerializer(ReasonSerializer):
    """Which jobs something is done to, and whether it is only to be told how many those are."""

    filter = FilterSerializer()
    dry_run = Flag(required=False, default=False)


class BulkRetrySerializer(BulkSerializer, RetrySerializer):
    """See BulkSerializer."""


class BulkRescheduleSerializer(BulkSerializer, RescheduleSerializer):
    """See BulkSerializer."""


class BulkDoneSerializer(serializers.Serializer[Any]):
    """What was done to many jobs. With ``more`` there are others: the same request goes on with them."""

    matched = serializers.IntegerField(help_text="Jobs that the filter found, at most 1,000.")
    more = serializers.BooleanField(help_text="Whether there are more of them.")
    dry_run = serializers.BooleanField()
    done = serializers.IntegerField()
    requested = serializers.IntegerField(help_text="Running jobs that were asked to end.")
    skipped = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many were left alone, by the reason."
    )


class Retry:
    permission_classes: Any = (CanRetryJobs,)
    verb = staticmethod(actions.retry)


class Cancel:
    permission_classes: Any = (CanCancelJobs,)
    verb = staticmethod(actions.cancel)


class Discard:
    permission_classes: Any = (CanDiscardJobs,)
    verb = staticmethod(actions.discard)


class Reschedule:
    permission_classes: Any = (CanChangeJobs,)
    verb = staticmethod(actions.reschedule)


def acting(verb: Any, ids: Iterable[UUID], values: Mapping[str, Any]) -> Any:
    """Carry out a verb on jobs. Raises ValidationError for values that it cannot take."""
    try:
        with transaction.atomic(using=database()):
            return verb(list(ids), **values)
    except (TypeError, ValueError) as error:
        raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None


class JobAction(JobView):
    """Something that is done to one job. Answers the job as it is then; 409 where its state forbids it."""

    throttle_classes: Any = (ActionThrottle,)
    serializer_class: Any = ReasonSerializer
    verb: Any

    def act(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        job = self.job(self.jobs().without_payload())
        answer = acting(self.verb, [job.id], {**values, "user": request.user})
        for reason, ids in answer.skipped.items():
            if job.id in ids and reason == actions.Reason.GONE:
                raise Http404
            if job.id in ids and reason != actions.Reason.UNCHANGED:
                now = self.jobs().filter(id=job.id).values_list("status", flat=True).first()
                raise Conflict(_("The job %(reason)s.") % {"reason": reason.label}, state=now)
        return Response(self.whole(self.job(self.jobs().select_related("progress"))))


def of_one(name: str, kind: type, body: Any, doc: str) -> type[JobAction]:
    """The view of a verb for one job."""

    class View(kind, JobAction):  # type: ignore[misc]
        serializer_class = body

        @described(
            f"jobs_{name}",
            request=body,
            responses={200: JobDetailSerializer},
            errors=(409, 413, 415),
            parameters=(ID,),
            tag="jobs",
        )
        def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            return self.act(request)

    View.__doc__, View.__name__ = doc, f"Job{kind.__name__}"
    return View


JobRetry = of_one("retry", Retry, RetrySerializer, "Run a job once more that has not succeeded.")
JobCancel = of_one("cancel", Cancel, ReasonSerializer, "Cancel a job; a running one is asked to end.")
JobDiscard = of_one("discard", Discard, ReasonSerializer, "Cancel a job unless it is running.")
JobReschedule = of_one("reschedule", Reschedule, RescheduleSerializer, "Start a waiting job at another time.")


class JobRunAgain(JobView):
    """Enqueue a new job like this one, with its arguments or with others. Answers the new job."""

    permission_classes = (CanRunAgain,)
    throttle_classes = (ActionThrottle,)
    serializer_class = RunAgainSerializer

    @described(
        "jobs_run_again",
        request=RunAgainSerializer,
        responses={202: JobSerializer},
        errors=(409, 413, 415),
        parameters=(ID,),
        tag="jobs",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        values = validated(self.serializer_class, request)
        job = self.job(self.jobs().without_payload())
        given = values.pop("arguments")
        if given is not None:
            values |= self._bound(job, given)
        try:
            with transaction.atomic(using=database()):
                answer = actions.run_again(job.id, user=request.user, **values)
        except TaskNotRegistered:
            raise Conflict(_("Nobody here knows the task of this job."), state=job.status) from None
        except (TypeError, UnserializableValue, UnstorableValue) as error:
            raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None
        if answer.result is None:
            raise Http404
        new = Job.objects.using(database()).without_payload().get(id=answer.result.id)
        return Response(JobSerializer(new).data, 202)

    def _bound(self, job: Job, given: dict[str, Any]) -> dict[str, Any]:
        if job.task_name not in registry:
            raise Conflict(_("Nobody here knows the task of this job."), state=job.status)
        task = registry.get(job.task_name)
        # With other arguments it is a call like any other: only of tasks that are open, by their own rule.
        is_open = task.api(self.request, task, dict(given)) if callable(task.api) else task.api
        if is_open is not True:
            raise PermissionDenied
        try:
            args, kwargs = bound(task, given)
        except ArgumentErrors as error:
            raise serializers.ValidationError({"arguments": error.errors}) from None
        return {"args": args, "kwargs": kwargs}


class BulkAction(TasksView, GenericAPIView):
    """Something that is done to all jobs that a filter finds, 1,000 at a time, the oldest first."""

    throttle_classes: Any = (ActionThrottle,)
    queryset = Job.objects.none()
    verb: Any

    def act(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        found = actions.matching(self.chosen(request, values.pop("filter")), CAP)
        answer: Any = None
        if not (dry_run := values.pop("dry_run")) and found.ids:
            answer = acting(self.verb, found.ids, {**values, "user": request.user})
        data = {
            "matched": len(found.ids),
            "more": found.more,
            "dry_run": dry_run,
            "done": len(answer.done) if answer else 0,
            "requested": len(getattr(answer, "requested", ())),
            "skipped": {str(reason.value): len(ids) for reason, ids in answer.skipped.items()}
            if answer
            else {},
        }
        return Response(BulkDoneSerializer(data).data)

    def chosen(self, request: Request, given: dict[str, str]) -> Any:
        try:
            return filtered(self.jobs(), given, request)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"filter": error.detail}) from None


def of_many(name: str, kind: type, body: Any, doc: str) -> type[BulkAction]:
    """The view of a verb for many jobs."""

    class View(kind, BulkAction):  # type: ignore[misc]
        serializer_class = body

        @described(
            f"jobs_bulk_{name}",
            request=body,
            responses={200: BulkDoneSerializer},
            errors=(413, 415),
            tag="jobs",
        )
        def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            return self.act(request)

    View.__doc__, View.__name__ = doc, f"Bulk{kind.__name__}"
    return View


BulkRetry = of_many("retry", Retry, BulkRetrySerializer, "Run jobs once more that have not succeeded.")
BulkCancel = of_many("cancel", Cancel, BulkSerializer, "Cancel jobs; running ones are asked to end.")
BulkDiscard = of_many("discard", Discard, BulkSerializer, "Cancel jobs unless they are running.")
BulkReschedule = of_many(
    "reschedule", Reschedule, BulkRescheduleSerializer, "Start waiting jobs at another time."
)
