"""The views of actions on all jobs that filters find."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions, tasks
from ..access import database
from ..models import Job
from .base import TasksView
from .fields import Flag
from .filters import fields_of_body, filtered, selection_of
from .jobs import GenericAPIView
from .openapi import described
from .queues import ReasonSerializer, validated
from .tasks import EnqueuedSerializer, enqueued_response
from .throttling import ActionThrottle
from .verbs import Verb, perform

#: The most jobs that one request acts on.
CAP = 1000


class FilterSerializer(serializers.Serializer[Any]):
    """The filters of the list of jobs by name, at least one of them."""

    def get_fields(self) -> dict[str, Any]:
        return fields_of_body()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := [name for name in data if name not in self.fields]):
            raise serializers.ValidationError({name: [_("Unknown filter.")] for name in unknown})
        if data == {}:  # it would select all jobs, which is hardly ever meant
            raise serializers.ValidationError([_("Name at least one filter.")])
        values = super().to_internal_value(data)
        # As text, since the filters of the list parse text.
        return {name: value if isinstance(value, str) else _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


class BulkSerializer(ReasonSerializer):
    """The jobs of a bulk action. With ``dry_run`` they are only counted.

    With ``background`` a new job acts on all of them.
    """

    filter = FilterSerializer()
    dry_run = Flag(required=False, default=False)
    background = Flag(required=False, default=False)


class BulkDoneSerializer(serializers.Serializer[Any]):
    """The result of a bulk action. If ``more`` is true, repeat the request for the other jobs."""

    matched = serializers.IntegerField(help_text=_("Jobs that the filter found, at most 1,000."))
    more = serializers.BooleanField(help_text=_("Whether there are more of them."))
    dry_run = serializers.BooleanField()
    done = serializers.IntegerField()
    requested = serializers.IntegerField(help_text=_("Running jobs that were asked to end."))
    skipped = serializers.DictField(
        child=serializers.IntegerField(), help_text=_("How many were skipped, by reason.")
    )


def labels_of(ids: list[UUID]) -> dict[UUID, str]:
    """Return the labels of jobs for records."""
    rows = Job.objects.using(database()).filter(id__in=ids).values_list("id", "task_name")
    return dict.fromkeys(ids, "") | {id: f"{name} ({id})" for id, name in rows}


class BulkAction(TasksView, GenericAPIView):
    """The base class of actions on all jobs that filters find.

    A request acts on up to 1,000 jobs at once, or enqueues a job that acts on all of them.
    """

    throttle_classes: Any = (ActionThrottle,)
    queryset = Job.objects.none()
    verb: Verb

    def act(self, request: Request) -> Response:
        values = validated(self.serializer_class, request)
        given, background = values.pop("filter"), values.pop("background")
        jobs = self.filtered_jobs(request, given)
        if not (dry_run := values.pop("dry_run")) and background:
            return self.enqueue(request, self.selection(given), values)
        named, selection = actions.NAMED[self.verb.name], self.selection(given)
        with self.reading():
            found = actions.collected(selection, named.pending(jobs, **values), CAP)
        done: Any = None
        if not dry_run and found.ids:
            done = perform(request, self.verb, labels_of(found.ids), values)
        data = {
            "matched": len(found.ids),
            # Jobs in a state that the action does not change are found again by each request.
            "more": found.more and (not selection.status or selection.status in named.states),
            "dry_run": dry_run,
            **(actions.Report.of(done) if done else actions.Report()).numbers,
        }
        return Response(BulkDoneSerializer(data).data)

    def selection(self, given: dict[str, str]) -> actions.Selection:
        """Return what the filters select: without a status, jobs in the states that the verb can change."""
        return selection_of(given).limited_to(actions.NAMED[self.verb.name].states)

    def enqueue(self, request: Request, selection: actions.Selection, values: Mapping[str, Any]) -> Response:
        try:
            with transaction.atomic(using=database()):
                result = tasks.enqueue_bulk(request, self.verb.name, selection, **values)
        except (TypeError, ValueError) as error:
            raise serializers.ValidationError({"non_field_errors": [str(error)]}) from None
        return enqueued_response(request, tasks.BULK, str(result.id), 202)

    def filtered_jobs(self, request: Request, given: dict[str, str]) -> Any:
        try:
            return filtered(self.jobs(), given, request)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"filter": error.detail}) from None


def bulk_view(verb: Verb) -> type[BulkAction]:
    """Return the view of a verb for many jobs."""
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
