"""The actions on jobs, and their views for one job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions, compat
from ..access import database
from ..actions import access
from ..definition.options import MAX_QUEUE_NAME
from ..definition.registry import is_internal, registry
from ..exceptions import TaskNotRegistered, UnserializableValue, UnstorableValue
from ..models import Job
from ..models.job import JobQuerySet
from ..payload.schema import ArgumentErrors
from .errors import Conflict
from .fields import Arguments, Moment, QueueName, Whole
from .idempotency import KEY, Keys
from .jobs import ID, JobView
from .openapi import described
from .permissions import CanRunAgain, NeedsPermissions, needing
from .queues import ReasonSerializer, record, validated
from .serializers import JobDetailSerializer, JobSerializer
from .tasks import checked_arguments
from .throttling import ActionThrottle


class RetrySerializer(ReasonSerializer):
    """When jobs are run again. Without a time they are run now."""

    at = Moment(required=False, allow_null=True, default=None)


class RescheduleSerializer(ReasonSerializer):
    """The new time at which waiting jobs start."""

    at = Moment()


class ChangeSerializer(ReasonSerializer):
    """The new priority of waiting jobs, their new queue, or both."""

    priority = Whole(min_value=compat.TASK_MIN_PRIORITY, max_value=compat.TASK_MAX_PRIORITY, required=False)
    queue = QueueName(max_length=MAX_QUEUE_NAME, required=False, source="queue_name")

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if not {"priority", "queue_name"} & set(values):
            raise serializers.ValidationError([_("Name a priority or a queue.")])
        return values


class RunAgainSerializer(ReasonSerializer):
    """The arguments of the new job by name. Without them, the new job has those of the old one."""

    arguments = Arguments(required=False, allow_null=True, default=None)


@dataclass(frozen=True)
class Verb:
    """An action on jobs, with an address for one job and an address for many."""

    name: str
    one: str
    many: str
    #: The serializer of the body: a reason, and the arguments of the action.
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
        "Run a job again that has failed, expired or been cancelled.",
        "Run jobs again that have failed, expired or been cancelled.",
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
        "Change the priority or the queue of a waiting job.",
        "Change the priority or the queue of waiting jobs.",
        ChangeSerializer,
    ),
    Verb(
        "dismiss",
        "Mark a failed or expired job as dealt with.",
        "Mark failed or expired jobs as dealt with.",
    ),
    Verb(
        "pin",
        "Keep a job regardless of its retention.",
        "Keep jobs regardless of their retention.",
    ),
    Verb(
        "unpin",
        "Let the retention of a job apply again.",
        "Let the retention of jobs apply again.",
    ),
    Verb(
        "delete",
        "Delete a job that has ended, with its attempts, progress and log lines.",
        "Delete jobs that have ended, with their attempts, progress and log lines.",
    ),
)


def perform(request: Request, verb: Verb, names: Mapping[UUID, str], values: Mapping[str, Any]) -> Any:
    """Do an action on jobs, and record it under the labels in ``names``. Return what was done.

    Raise ValidationError for values that the action does not accept.
    """
    try:
        with transaction.atomic(using=database()):
            named = actions.NAMED[verb.name]
            done = named.function(list(names), user=request.user, **values)
            changed = sorted(done.done | getattr(done, "requested", set()))
            if access.moves(verb.name):
                access.refuse_outside(request, changed, database())
            rows = [(id, names[id]) for id in changed]
            flag = actions.DELETION if verb.name == "delete" else actions.CHANGE
            record(request, Job, rows, named.label, values, flag)
            return done
    except (TypeError, ValueError) as error:
        raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None


class JobAction(JobView):
    """The base class of actions on one job. They return the job as it is afterwards, or 409 if impossible."""

    throttle_classes: Any = (ActionThrottle,)
    serializer_class: Any = ReasonSerializer
    verb: Verb

    def act(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        job = self.job(self.jobs().without_payload())
        done = perform(request, self.verb, {job.id: str(job)}, values)
        for reason, ids in done.skipped.items():
            if job.id in ids and reason == actions.Reason.GONE:
                raise Http404
            if job.id in ids and reason != actions.Reason.UNCHANGED:
                now = self.jobs().filter(id=job.id).values_list("status", flat=True).first()
                if reason == actions.Reason.OTHERS:
                    raise PermissionDenied(_("Only the user who requested a bulk action can run it again."))
                raise Conflict(_("The job %(reason)s.") % {"reason": reason.label}, state=now)
        if self.verb.name == "delete":
            return Response(status=204)
        return Response(self.whole(self.job(self.jobs().select_related("progress"))))


def job_view(verb: Verb) -> type[JobAction]:
    """Return the view of a verb for one job."""

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
    """Enqueue a new job like this one, with the same or other arguments. Return the new job."""

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
                return self._response(Job.objects.using(database()), id, 202)
        return self._response(self.jobs(), id, 200)

    def _enqueued(self, request: Request, job: Job, values: dict[str, Any]) -> str:
        """Enqueue the new job and return its id."""
        try:
            with transaction.atomic(using=database()):
                done = actions.run_again(job.id, user=request.user, **values)
                if done.result is None:
                    raise Http404
                new_id = UUID(str(done.result.id))
                access.refuse_outside(request, [new_id], database())
                rows = [(job.id, str(job)), (new_id, f"{job.task_name} ({new_id})")]
                details = {"new": new_id, "reason": values["reason"]}
                record(request, Job, rows, _("New job from this one"), details)
                return str(new_id)
        except TaskNotRegistered:
            raise Conflict(_("The task of this job is not registered."), state=job.status) from None
        except compat.InvalidTask as error:
            raise Conflict(str(error), state=job.status) from None
        except (TypeError, UnserializableValue, UnstorableValue) as error:
            raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None

    def _response(self, jobs: JobQuerySet, id: str, status: int) -> Response:
        new = jobs.with_reasons().filter(id=id).first()
        if new is None:  # a repeated request whose job was deleted
            raise Http404
        return Response(JobSerializer(new).data, status)

    def _bound(self, job: Job, given: dict[str, Any]) -> dict[str, Any]:
        if job.task_name not in registry:
            raise Conflict(_("The task of this job is not registered."), state=job.status)
        task = registry.get(job.task_name)
        if is_internal(task.name):
            raise PermissionDenied
        try:
            # With other arguments it is like any request to enqueue: only open tasks, by their rule.
            args, kwargs = checked_arguments(self.request, task, given)
        except ArgumentErrors as error:
            raise serializers.ValidationError({"arguments": error.errors}) from None
        return {"args": args, "kwargs": kwargs}
