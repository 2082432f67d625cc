"""What can be done to jobs over HTTP: to one, and to all that a filter finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions, compat, tasks
from ..access import database
from ..actions import access
from ..definition.options import MAX_QUEUE_NAME
from ..definition.registry import is_internal, registry
from ..exceptions import TaskNotRegistered, UnserializableValue, UnstorableValue
from ..models import Job
from ..models.job import JobQuerySet
from ..payload.schema import ArgumentErrors
from .base import TasksView
from .errors import Conflict
from .fields import Arguments, Flag, Moment, QueueName, Whole
from .filters import fields_of_body, filtered, selection_of
from .idempotency import KEY, Keys
from .jobs import ID, GenericAPIView, JobView
from .openapi import described
from .permissions import CanRunAgain, NeedsPermissions, needing
from .queues import ReasonSerializer, record, validated
from .serializers import JobDetailSerializer, JobSerializer
from .tasks import EnqueuedSerializer, agreed, answer
from .throttling import ActionThrottle

#: Jobs that one request does something to.
CAP = 1000


class RetrySerializer(ReasonSerializer):
    """When failed jobs are run once more; now, without a time."""

    at = Moment(required=False, allow_null=True, default=None)


class RescheduleSerializer(ReasonSerializer):
    """When waiting jobs are to start."""

    at = Moment()


class ChangeSerializer(ReasonSerializer):
    """What waiting jobs are given: another priority, another queue, or both."""

    priority = Whole(min_value=compat.TASK_MIN_PRIORITY, max_value=compat.TASK_MAX_PRIORITY, required=False)
    queue = QueueName(max_length=MAX_QUEUE_NAME, required=False, source="queue_name")

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if not {"priority", "queue_name"} & set(values):
            raise serializers.ValidationError([_("Name a priority or a queue.")])
        return values


class RunAgainSerializer(ReasonSerializer):
    """The arguments of the new job by name; those of the old one, without any."""

    arguments = Arguments(required=False, allow_null=True, default=None)


class FilterSerializer(serializers.Serializer[Any]):
    """Which jobs: the filters of the list by name, at least one of them."""

    def get_fields(self) -> dict[str, Any]:
        return fields_of_body()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := [name for name in data if name not in self.fields]):
            raise serializers.ValidationError({name: [_("Unknown filter.")] for name in unknown})
        if data == {}:  # of all jobs there are, nobody means that by accident
            raise serializers.ValidationError([_("Name at least one filter.")])
        values = super().to_internal_value(data)
        # As text again: it is read the way the list reads it.
        return {name: value if isinstance(value, str) else _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class BulkSerializer(ReasonSerializer):
    """Which jobs something is done to, and whether it is only to be told how many those are.

    In the ``background`` it is done to all of them, by a job of its own.
    """

    filter = FilterSerializer()
    dry_run = Flag(required=False, default=False)
    background = Flag(required=False, default=False)


class BulkDoneSerializer(serializers.Serializer[Any]):
    """What was done to many jobs. With ``more`` there are others: the same request goes on with them."""

    matched = serializers.IntegerField(help_text=_("Jobs that the filter found, at most 1,000."))
    more = serializers.BooleanField(help_text=_("Whether there are more of them."))
    dry_run = serializers.BooleanField()
    done = serializers.IntegerField()
    requested = serializers.IntegerField(help_text=_("Running jobs that were asked to end."))
    skipped = serializers.DictField(
        child=serializers.IntegerField(), help_text=_("How many were left alone, by the reason.")
    )


@dataclass(frozen=True)
class Verb:
    """A verb of ``actions`` at addresses of its own: one for a job, one for many."""

    name: str
    one: str
    many: str
    #: What it is told, beside a reason.
    body: type[ReasonSerializer] = ReasonSerializer

    @property
    def slug(self) -> str:
        return self.name.replace("_", "-")

    @property
    def title(self) -> str:
        return self.name.title().replace("_", "")

    @property
    def permission(self) -> type[NeedsPermissions]:
        return needing("view_job", actions.NAMED[self.name].codename)


VERBS = (
    Verb(
        "retry",
        "Run a job once more that has not succeeded.",
        "Run jobs once more that have not succeeded.",
        RetrySerializer,
    ),
    Verb(
        "cancel",
        "Cancel a job; a running one is asked to end.",
        "Cancel jobs; running ones are asked to end.",
    ),
    Verb("discard", "Cancel a job unless it is running.", "Cancel jobs unless they are running."),
    Verb(
        "reschedule",
        "Start a waiting job at another time.",
        "Start waiting jobs at another time.",
        RescheduleSerializer,
    ),
    Verb("run_now", "Start a scheduled job before its time.", "Start scheduled jobs before their time."),
    Verb(
        "change",
        "Give a waiting job another priority or queue.",
        "Give waiting jobs another priority or queue.",
        ChangeSerializer,
    ),
    Verb(
        "dismiss",
        "Mark a failed or expired job as dealt with.",
        "Mark failed or expired jobs as dealt with.",
    ),
    Verb(
        "pin",
        "Keep a job however long ago it has ended.",
        "Keep jobs however long ago they have ended.",
    ),
    Verb(
        "unpin",
        "Let a job go when its retention is over.",
        "Let jobs go when their retention is over.",
    ),
    Verb(
        "delete",
        "Delete a job that has ended, with its attempts, progress and log lines.",
        "Delete jobs that have ended, with their attempts, progress and log lines.",
    ),
)


def acting(request: Request, verb: Verb, names: Mapping[UUID, str], values: Mapping[str, Any]) -> Any:
    """Carry out a verb on jobs, given with what they are called, and keep a record of who did it.

    Raises ValidationError for values that it cannot take.
    """
    try:
        with transaction.atomic(using=database()):
            named = actions.NAMED[verb.name]
            answer = named.function(list(names), user=request.user, **values)
            changed = sorted(answer.done | getattr(answer, "requested", set()))
            if access.moves(verb.name):
                access.refuse_outside(request, changed, database())
            rows = [(id, names[id]) for id in changed]
            flag = actions.DELETION if verb.name == "delete" else actions.CHANGE
            record(request, Job, rows, named.label, values, flag)
            return answer
    except (TypeError, ValueError) as error:
        raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None


class JobAction(JobView):
    """Something that is done to one job. Answers the job as it is then; 409 where its state forbids it."""

    throttle_classes: Any = (ActionThrottle,)
    serializer_class: Any = ReasonSerializer
    verb: Verb

    def act(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        job = self.job(self.jobs().without_payload())
        answer = acting(request, self.verb, {job.id: str(job)}, values)
        for reason, ids in answer.skipped.items():
            if job.id in ids and reason == actions.Reason.GONE:
                raise Http404
            if job.id in ids and reason != actions.Reason.UNCHANGED:
                now = self.jobs().filter(id=job.id).values_list("status", flat=True).first()
                if reason == actions.Reason.OTHERS:
                    raise PermissionDenied(_("Only who asked for bulk work may have it done once more."))
                raise Conflict(_("The job %(reason)s.") % {"reason": reason.label}, state=now)
        if self.verb.name == "delete":
            return Response(status=204)
        return Response(self.whole(self.job(self.jobs().select_related("progress"))))


def of_one(verb: Verb) -> type[JobAction]:
    """The view of a verb for one job."""

    class View(JobAction):
        permission_classes: Any = (verb.permission,)
        serializer_class = verb.body

        @described(
            f"jobs_{verb.name}",
            request=verb.body,
            responses={204: None} if verb.name == "delete" else {200: JobDetailSerializer},
            errors=(409, 413, 415),
            parameters=(ID,),
            tag="jobs",
        )
        def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            return self.act(request)

    View.verb, View.__doc__, View.__name__ = verb, verb.one, f"Job{verb.title}"
    return View


class JobRunAgain(JobView):
    """Enqueue a new job like this one, with its arguments or with others. Answers the new job."""

    permission_classes = (CanRunAgain,)
    throttle_classes = (ActionThrottle,)
    serializer_class = RunAgainSerializer

    @described(
        "jobs_run_again",
        request=RunAgainSerializer,
        responses={200: JobSerializer, 202: JobSerializer},
        errors=(409, 413, 415),
        parameters=(ID, KEY),
        tag="jobs",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        values = validated(self.serializer_class, request)
        job = self.job(self.jobs().without_payload())
        given = values.pop("arguments")
        if given is not None:
            values |= self._bound(job, given)
        keys = Keys(request, f"{job.id} again", request.data)
        with keys:
            if (id := keys.replayed()) is None:
                id = keys.keep(self._enqueued(request, job, values))
                return self._shown(Job.objects.using(database()), id, 202)
        return self._shown(self.jobs(), id, 200)

    def _enqueued(self, request: Request, job: Job, values: dict[str, Any]) -> str:
        """The id of the new job."""
        try:
            with transaction.atomic(using=database()):
                answer = actions.run_again(job.id, user=request.user, **values)
                if answer.result is None:
                    raise Http404
                new_id = UUID(str(answer.result.id))
                access.refuse_outside(request, [new_id], database())
                rows = [(job.id, str(job)), (new_id, f"{job.task_name} ({new_id})")]
                told = {"new": new_id, "reason": values["reason"]}
                record(request, Job, rows, _("New job from this one"), told)
                return str(new_id)
        except TaskNotRegistered:
            raise Conflict(_("Nobody here knows the task of this job."), state=job.status) from None
        except compat.InvalidTask as error:
            raise Conflict(str(error), state=job.status) from None
        except (TypeError, UnserializableValue, UnstorableValue) as error:
            raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None

    def _shown(self, jobs: JobQuerySet, id: str, status: int) -> Response:
        new = jobs.with_reasons().filter(id=id).first()
        if new is None:  # the request is repeated, and its job is gone by now
            raise Http404
        return Response(JobSerializer(new).data, status)

    def _bound(self, job: Job, given: dict[str, Any]) -> dict[str, Any]:
        if job.task_name not in registry:
            raise Conflict(_("Nobody here knows the task of this job."), state=job.status)
        task = registry.get(job.task_name)
        if is_internal(task.name):
            raise PermissionDenied
        try:
            # With other arguments it is a call like any other: of tasks that are open, by their rule.
            args, kwargs = agreed(self.request, task, given)
        except ArgumentErrors as error:
            raise serializers.ValidationError({"arguments": error.errors}) from None
        return {"args": args, "kwargs": kwargs}


def names_of(ids: list[UUID]) -> dict[UUID, str]:
    """What jobs are called in records."""
    rows = Job.objects.using(database()).filter(id__in=ids).values_list("id", "task_name")
    return dict.fromkeys(ids, "") | {id: f"{name} ({id})" for id, name in rows}


class BulkAction(TasksView, GenericAPIView):
    """Something that is done to all jobs that a filter finds.

    At once to 1,000 at a time, or in the background to all.
    """

    throttle_classes: Any = (ActionThrottle,)
    queryset = Job.objects.none()
    verb: Verb

    def act(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        given, background = values.pop("filter"), values.pop("background")
        jobs = self.chosen(request, given)
        if not (dry_run := values.pop("dry_run")) and background:
            return self.ask(request, self.selection(given), values)
        with self.reading():
            found = actions.collected(self.selection(given), jobs, CAP)
        done: Any = None
        if not dry_run and found.ids:
            done = acting(request, self.verb, names_of(found.ids), values)
        data = {
            "matched": len(found.ids),
            "more": found.more,
            "dry_run": dry_run,
            **(actions.Report.of(done) if done else actions.Report()).numbers,
        }
        return Response(BulkDoneSerializer(data).data)

    def selection(self, given: dict[str, str]) -> actions.Selection:
        """Return what the filters select: without a status, jobs in the states that the verb can change."""
        return selection_of(given).limited_to(actions.NAMED[self.verb.name].states)

    def ask(self, request: Request, selection: actions.Selection, values: Mapping[str, Any]) -> Response:
        try:
            with transaction.atomic(using=database()):
                result = tasks.ask(request, self.verb.name, selection, **values)
        except (TypeError, ValueError) as error:
            raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None
        return answer(request, tasks.BULK, str(result.id), 202)

    def chosen(self, request: Request, given: dict[str, str]) -> Any:
        try:
            return filtered(self.jobs(), given, request)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"filter": error.detail}) from None


def of_many(verb: Verb) -> type[BulkAction]:
    """The view of a verb for many jobs."""
    body: Any = BulkSerializer
    if verb.body is not ReasonSerializer:
        name = f"Bulk{verb.title}Serializer"
        body = type(name, (BulkSerializer, verb.body), {"__doc__": "See BulkSerializer."})

    class View(BulkAction):
        permission_classes: Any = (verb.permission,)
        serializer_class = body

        @described(
            f"jobs_bulk_{verb.name}",
            request=body,
            responses={200: BulkDoneSerializer, 202: EnqueuedSerializer},
            errors=(413, 415, 503),
            tag="jobs",
        )
        def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            return self.act(request)

    View.verb, View.__doc__, View.__name__ = verb, verb.many, f"Bulk{verb.title}"
    return View
