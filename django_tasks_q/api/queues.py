"""The views of queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from .. import actions, compat
from ..access import backend, database, is_narrowed, is_scoped
from ..definition.registry import registry
from ..models import Queue
from ..storage import storage_for
from ..storage.orm.queue_counts import QueueCounts
from .base import NamedAction, TasksView
from .errors import Conflict
from .fields import Line, Moment, Whole
from .jobs import GenericAPIView
from .openapi import described
from .permissions import CanChangeQueues, CanPauseQueues, CanViewQueues
from .throttling import ActionThrottle

NAME = ("name", str, "path", _("The name of the queue."))


class QueueSerializer(serializers.Serializer[Any]):
    """A queue: its jobs, its pause and its limit."""

    name = serializers.CharField()
    ready = serializers.IntegerField(help_text=_("Jobs that could be started now."))
    scheduled = serializers.IntegerField(help_text=_("Jobs for later."))
    running = serializers.IntegerField(help_text=_("Jobs that are running."))
    is_capped = serializers.BooleanField(
        help_text=_(
            "Whether a state has more jobs than were counted: 10,000, or fewer if there are many queues."
        )
    )
    oldest_ready_age = serializers.FloatField(
        allow_null=True,
        help_text=_("Seconds for which the oldest ready job could have been started."),
    )
    is_paused = serializers.BooleanField()
    paused_at = Moment(allow_null=True)
    paused_by = serializers.CharField(allow_blank=True)
    pause_reason = serializers.CharField(allow_blank=True)
    paused_until = Moment(allow_null=True)
    max_running = serializers.IntegerField(allow_null=True)


class ReasonSerializer(serializers.Serializer[Any]):
    """The reason for an action, for people to read."""

    reason = Line(max_length=255, required=False, default="", allow_blank=True)


class PauseSerializer(ReasonSerializer):
    """How to pause a queue."""

    until = Moment(required=False, allow_null=True, default=None)


class LimitSerializer(ReasonSerializer):
    """How many jobs of a queue may run at a time."""

    max_running = Whole(min_value=1, max_value=2**31 - 1, allow_null=True)


class QueueView(TasksView, GenericAPIView):
    """The base class of the views of queues."""

    permission_classes: Any = (CanViewQueues,)
    serializer_class: Any = QueueSerializer
    queryset = Queue.objects.none()

    def shown(self, names: Iterable[str], *, listed: bool = False) -> list[dict[str, Any]]:
        """Return the data of queues, with a few queries for all of them.

        With ``listed``, also return the other queues with jobs that this request may see.
        """
        storage, alias = storage_for(database()), self.alias
        named = set(names)
        queues = {(alias, name) for name in named}
        if listed:
            queues.update(storage.queues.busy(alias))
        counted = storage.queues.count(queues, self.jobs() if is_scoped() else None)
        rows = {row.name: row for row in Queue.objects.using(database()).filter(backend=alias)}
        found = [
            self._values(name, queue, rows.get(name))
            for (_backend, name), queue in sorted(counted.items())
            if name in named or queue.has_jobs
        ]
        return list(QueueSerializer(found, many=True).data)

    def _values(self, name: str, counted: QueueCounts, row: Queue | None) -> dict[str, Any]:
        since = counted.ready_since
        queue = row if row is not None else Queue(name=name)
        return {
            "name": name,
            "ready": counted.ready.number,
            "scheduled": counted.scheduled.number,
            "running": counted.running.number,
            "is_capped": counted.is_capped,
            "oldest_ready_age": since and max(0.0, (timezone.now() - since).total_seconds()),
            "is_paused": queue.is_paused,
            "paused_at": queue.paused_at,
            "paused_by": queue.paused_by,
            "pause_reason": queue.pause_reason,
            "paused_until": queue.paused_until,
            "max_running": queue.max_running,
        }

    @property
    def alias(self) -> str:
        """The alias of the backend of the queues."""
        known = backend()
        return compat.DEFAULT_TASK_BACKEND_ALIAS if known is None else known.alias

    def known(self) -> list[str]:
        """Return the queues that settings, registered tasks or rows of the table of queues name."""
        named = backend()
        names = {task.queue_name for task in registry if task.backend == self.alias}
        names.update(named.queues if named else ())
        names.update(
            Queue.objects.using(database()).filter(backend=self.alias).values_list("name", flat=True)
        )
        return sorted(names)

    def queue_name(self) -> str:
        """Return the queue in the path. Raise Http404 if nothing names it and it has no jobs."""
        name: str = self.kwargs["name"]
        if name in self.known() and not is_narrowed(self.request):
            return name
        if "\x00" in name or not self.jobs().filter(backend=self.alias, queue_name=name).exists():
            raise Http404
        return name

    def validated(self, request: Request) -> dict[str, Any]:
        """Return the validated body. Raise ValidationError, for unknown fields too."""
        return validated(self.serializer_class, request)


def record(
    request: Request,
    model: type[Model],
    rows: Iterable[tuple[Any, str]],
    label: Any,
    values: Mapping[str, Any],
    flag: int = actions.CHANGE,
) -> None:
    """Add an entry about an action to the log of Django's admin, in the transaction of the action."""
    message = actions.change_message(_("%(verb)s (REST API)") % {"verb": label}, values)
    actions.record(request.user, model, rows, message, flag)


def validated(kind: Any, request: Request) -> dict[str, Any]:
    """Return the validated body of a request. Raise ValidationError naming wrong and unknown fields."""
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    if unknown := [name for name in request.data if name not in serializer.fields]:
        raise serializers.ValidationError({name: [_("Unknown field.")] for name in unknown})
    data: dict[str, Any] = serializer.validated_data
    return data


class QueueList(QueueView):
    """All queues that settings, tasks or people have named, or that have jobs, with numbers of jobs."""

    pagination_class = None

    @described("queues_list", responses={200: QueueSerializer(many=True)}, errors=(503,), tag="queues")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with self.reading():
            found = self.shown(self.known(), listed=True)
        if is_narrowed(request):  # names of queues with jobs of other tenants only stay hidden
            found = [each for each in found if each["ready"] or each["scheduled"] or each["running"]]
        return Response(found)


class QueueDetail(QueueView):
    """One queue."""

    @described(
        "queues_retrieve", responses={200: QueueSerializer}, errors=(503,), parameters=(NAME,), tag="queues"
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with self.reading():
            return Response(self.shown([self.queue_name()])[0])


class QueueAction(NamedAction, QueueView):
    """The base class of actions on a queue."""

    throttle_classes = (ActionThrottle,)
    shown_by = QueueDetail
    label: Any

    def perform(self, name: str, values: dict[str, Any]) -> None:
        raise NotImplementedError

    def done(self, request: Request) -> Response:
        name, values = self.queue_name(), self.validated(request)
        try:
            with transaction.atomic(using=database()):
                self.perform(name, values | {"backend": self.alias, "user": request.user})
                record(request, Queue, [(name, f"{name} ({self.alias})")], self.label, values)
        except ValueError as error:  # a time in the past, which was right once
            raise Conflict(str(error)) from None
        return Response(self.shown([name])[0])


class QueuePause(QueueAction):
    """Make workers claim no more jobs of a queue."""

    label = _("Pause")
    ending = "pause"
    permission_classes = (CanPauseQueues,)
    serializer_class = PauseSerializer

    def perform(self, name: str, values: dict[str, Any]) -> None:
        actions.pause(name, by=self.request.user.get_username()[:255], **values)

    @described(
        "queues_pause",
        request=PauseSerializer,
        responses={200: QueueSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="queues",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)


class QueueResume(QueueAction):
    """Make workers claim jobs of a queue again."""

    label = _("Resume")
    ending = "resume"
    permission_classes = (CanPauseQueues,)
    serializer_class = ReasonSerializer

    def perform(self, name: str, values: dict[str, Any]) -> None:
        actions.resume(name, **values)

    @described(
        "queues_resume",
        request=ReasonSerializer,
        responses={200: QueueSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="queues",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)


class QueueLimit(QueueAction):
    """Limit how many jobs of a queue run at the same time, or remove the limit."""

    label = _("Limit")
    ending = "limit"
    permission_classes = (CanChangeQueues,)
    serializer_class = LimitSerializer

    def perform(self, name: str, values: dict[str, Any]) -> None:
        actions.limit(name, values.pop("max_running"), **values)

    @described(
        "queues_limit",
        request=LimitSerializer,
        responses={200: QueueSerializer},
        errors=(409, 413, 415),
        parameters=(NAME,),
        tag="queues",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self.done(request)
