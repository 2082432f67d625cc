"""The views of tasks, and of requests to enqueue them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import Http404
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from .. import compat
from ..access import is_scoped
from ..actions import access
from ..actions.perform import backend_of
from ..definition.registry import is_internal, registry
from ..definition.task import Task
from ..exceptions import TaskNotRegistered, UnserializableValue, UnstorableValue
from ..models import Job
from ..payload.schema import ArgumentErrors, arguments_schema, bound, by_name
from .base import NamedAction, TasksView
from .fields import ARGUMENTS
from .idempotency import KEY, Keys
from .jobs import GenericAPIView
from .openapi import described, typed
from .permissions import CanViewJobs, MayEnqueue, may
from .throttling import EnqueueThrottle

NAME = ("name", str, "path", _("The name of the task."))


class TaskSerializer(serializers.Serializer[Any]):
    """A task, as it is defined."""

    name = serializers.CharField()
    description = serializers.CharField()
    queue = serializers.CharField(source="queue_name")
    backend = serializers.CharField()
    priority = serializers.IntegerField()
    tags = serializers.ListField(child=serializers.CharField())
    can_enqueue = serializers.SerializerMethodField()
    arguments = serializers.SerializerMethodField()

    def get_can_enqueue(self, task: Task[..., Any]) -> bool:
        """Return whether the API can enqueue the task."""
        return bool(task.api)

    @typed({"type": "object", "additionalProperties": {}, "description": _("A JSON Schema.")})
    def get_arguments(self, task: Task[..., Any]) -> Any:
        return arguments_schema(task)


class EnqueuedSerializer(serializers.Serializer[Any]):
    """The job of a request to enqueue. Requests with the same idempotency key have the same job."""

    id = serializers.UUIDField()
    task = serializers.CharField()
    url = serializers.URLField(help_text=_("The address of the job."))


class ArgumentsSerializer(serializers.Serializer[Any]):
    """The arguments of a task by name. ``tasks/{name}/`` has their schema."""

    def get_initial(self) -> dict[str, Any]:
        """Return the initial text of the form in a browser."""
        view = self.context.get("view")
        return view.initial_arguments() if isinstance(view, TaskEnqueue) else {}


class TaskList(TasksView, GenericAPIView):
    """All registered tasks, with the JSON Schema of their arguments."""

    permission_classes = (CanViewJobs,)
    serializer_class = TaskSerializer
    pagination_class = None
    queryset = Job.objects.none()

    @described("tasks_list", responses={200: TaskSerializer(many=True)}, tag="tasks")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(TaskSerializer(registry.offered(), many=True).data)


class TaskDetail(TasksView, GenericAPIView):
    """One task, with the JSON Schema of its arguments."""

    permission_classes = (CanViewJobs,)
    serializer_class = TaskSerializer
    queryset = Job.objects.none()

    @described("tasks_retrieve", responses={200: TaskSerializer}, parameters=(NAME,), tag="tasks")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(TaskSerializer(task_or_404(self.kwargs["name"])).data)


class TaskEnqueue(NamedAction, GenericAPIView):
    """Enqueue a task with ``api=True``. The body has its arguments by name."""

    permission_classes = (MayEnqueue,)
    throttle_classes = (EnqueueThrottle,)
    shown_by = TaskDetail
    ending = "enqueue"
    serializer_class = ArgumentsSerializer
    queryset = Job.objects.none()

    @described(
        "tasks_enqueue",
        request={"application/json": ARGUMENTS},
        responses={200: EnqueuedSerializer, 202: EnqueuedSerializer},
        errors=(409, 413, 415),
        parameters=(NAME, KEY),
        tag="tasks",
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        task = open_task(request, self.kwargs["name"])
        given = request.data
        if not isinstance(given, dict):
            raise ValidationError({"non_field_errors": [_("The body must be an object of arguments.")]})
        try:
            args_, kwargs_ = checked_arguments(request, task, given)
        except ArgumentErrors as error:
            raise ValidationError(error.errors) from None
        keys = Keys(request, task.name, given)
        with keys:
            if (id := keys.replayed()) is None:
                id = keys.keep(enqueued(request, task, args_, kwargs_))
                return enqueued_response(request, task.name, id, 202)
        return enqueued_response(request, task.name, id, 200)

    def initial_arguments(self) -> dict[str, Any]:
        """Return the parameters of the task with their defaults, if the user may see tasks."""
        name = self.kwargs.get("name")
        if name not in registry or not registry.get(name).api or not may(self.request.user, "view_job"):
            return {}
        properties = arguments_schema(registry.get(name))["properties"]
        return {name: schema.get("default") for name, schema in properties.items()}


def open_task(request: Request, name: str) -> Task[..., Any]:
    """Return the task if this user may enqueue it, unless its own rule, which needs the arguments, denies it.

    Raise PermissionDenied for all names if the user may enqueue no task, and Http404 for all names of tasks
    that are not open otherwise. So the responses do not reveal which tasks exist.
    """
    task = registry.get(name) if name in registry and not is_internal(name) else None
    if task is not None and callable(task.api):
        return task
    if not may(request.user, "add_job"):
        raise PermissionDenied
    if task is None or task.api is not True:
        raise Http404
    return task


def checked_arguments(
    request: Request, task: Task[..., Any], given: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments for ``enqueue()`` if the task's own rule accepts the values that will be stored.

    Raise PermissionDenied if it does not. Raise ArgumentErrors for wrong arguments that the rule accepts.
    """
    try:
        args, kwargs = bound(task, given)
    except ArgumentErrors:
        _check_rule(request, task, dict(given))
        raise
    _check_rule(request, task, by_name(task, args, kwargs))
    return args, kwargs


def _check_rule(request: Request, task: Task[..., Any], arguments: dict[str, Any]) -> None:
    is_open = task.api(request, task, arguments) if callable(task.api) else task.api
    if is_open is not True:
        raise PermissionDenied


def enqueued_response(request: Request, name: str, id: str, status: int) -> Response:
    """Return the response for a job that was enqueued, with its address."""
    match = request.resolver_match
    namespace = match.namespace if match else "django_tasks_q"
    url = request.build_absolute_uri(reverse(f"{namespace}:job-detail", args=[id]))
    data = {"id": id, "task": name, "url": url}
    return Response(data, status, headers={"Location": url, "Retry-After": "1"})


def task_or_404(name: str) -> Task[..., Any]:
    """Return the task with this name, without importing anything. Raise Http404, for internal tasks too."""
    try:
        task = registry.get(name)
    except TaskNotRegistered:
        raise Http404 from None
    if is_internal(task.name):
        raise Http404
    return task


def enqueued(request: Request, task: Task[..., Any], args: list[Any], kwargs: dict[str, Any]) -> str:
    """Enqueue the task and return the id of the job.

    Raise ValidationError for arguments that cannot be stored, and PermissionDenied if the user may not see
    the job.
    """
    ours = backend_of(task.backend) if is_scoped() else None
    try:
        if ours is None:
            return str(task.enqueue(*args, **kwargs).id)
        with transaction.atomic(using=ours.database):
            id = str(task.enqueue(*args, **kwargs).id)
            access.refuse_outside(request, [UUID(id)], ours.database)
        return id
    except (TypeError, UnserializableValue, UnstorableValue, compat.InvalidTask) as error:
        raise ValidationError({"non_field_errors": [str(error)]}) from None
    except compat.InvalidTaskBackend as error:
        raise ImproperlyConfigured(str(error)) from None
