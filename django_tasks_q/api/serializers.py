"""Rows as JSON. Names of tasks in rows are not imported, and secrets are masked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db.models import DateTimeField, FloatField
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ..definition.sensitive import masked_arguments, secrets_of, sensitive_names
from ..lifecycle.states import JobStatus
from ..models import Attempt, Job, LogLine, Progress, Worker
from ..payload import codec
from ..payload.masking import cleaned, masked, redacted
from .fields import Finite, Moment
from .openapi import typed

#: The fields for columns. Times and numbers have the same form in all responses.
FIELDS = {
    **serializers.ModelSerializer.serializer_field_mapping,
    DateTimeField: Moment,
    FloatField: Finite,
}

#: The most attempts of a response: a job may have thousands, each with a long traceback.
MAX_ATTEMPTS = 100


class Payload:
    """The arguments, the result and other data of a job, with secrets masked."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @cached_property
    def _stored(self) -> tuple[list[Any], dict[str, Any]] | None:
        """The arguments, or None if the column cannot be read."""
        try:
            return codec.load_arguments(self._job.arguments)
        except ValueError:
            return None

    @cached_property
    def arguments(self) -> tuple[Any, Any]:
        if self._stored is None:
            return None, None
        return masked_arguments(self._job.task_name, *self._stored)

    @cached_property
    def _secrets(self) -> set[str]:
        return set() if self._stored is None else secrets_of(self._job.task_name, *self._stored)

    def json(self, stored: str | None) -> Any:
        """Return the value of stored JSON with secrets masked, or None if it cannot be read."""
        try:
            value = None if stored is None else codec.loads(stored)
        except ValueError:
            return None
        return cleaned(masked(value, sensitive_names(self._job.task_name)), self._secrets)

    def text(self, text: str, cut: int | None = None) -> str:
        """Return text with secrets masked, cut to so many characters."""
        return redacted(text, self._secrets, cut)


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
    """An attempt. Without ``payload`` in the context, its texts are null."""

    serializer_field_mapping = FIELDS

    message = serializers.SerializerMethodField()
    traceback = serializers.SerializerMethodField()
    error_data = serializers.SerializerMethodField()

    class Meta:
        model = Attempt
        fields = (
            "number",
            "outcome",
            "worker_id",
            "started_at",
            "finished_at",
            "duration",
            "exit_status",
            "error_code",
            "exception_class",
            "message",
            "traceback",
            "error_data",
        )
        read_only_fields = fields

    @typed({"type": "string", "nullable": True})
    def get_message(self, attempt: Attempt) -> Any:
        return self._shown(lambda payload: payload.text(attempt.message))

    @typed({"type": "string", "nullable": True})
    def get_traceback(self, attempt: Attempt) -> Any:
        return self._shown(lambda payload: payload.text(attempt.traceback))

    @typed({})
    def get_error_data(self, attempt: Attempt) -> Any:
        return self._shown(lambda payload: payload.json(attempt.data))

    def _shown(self, show: Callable[[Payload], Any]) -> Any:
        payload = self.context.get("payload")
        return None if payload is None else show(payload)


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job in a list, without fields that can be large."""

    serializer_field_mapping = FIELDS

    task = serializers.CharField(source="task_name", read_only=True)
    queue = serializers.CharField(source="queue_name", read_only=True)
    tags = serializers.SerializerMethodField()
    cancel_reason = serializers.CharField(source="told_reason", read_only=True)

    class Meta:
        model = Job
        fields: tuple[str, ...] = (
            "id",
            "task",
            "queue",
            "backend",
            "priority",
            "status",
            "tags",
            "parent_id",
            "attempts",
            "max_attempts",
            "crashes",
            "timeout",
            "worker_id",
            "run_after",
            "expires_at",
            "cancel_requested_at",
            "cancel_reason",
            "enqueued_at",
            "started_at",
            "last_attempted_at",
            "finished_at",
            "duration",
            "error_code",
            "dismissed_at",
            "pinned_at",
        )
        read_only_fields = fields

    def get_tags(self, job: Job) -> list[str]:
        try:
            tags = codec.loads(job.tags) if job.tags else []
        except ValueError:
            return []
        return tags if isinstance(tags, list) else []


class ProgressSerializer(serializers.ModelSerializer[Progress]):
    """The progress of a job. Without ``payload`` in the context, the value that it yielded last is null.

    The context needs ``masks``, which masks the secrets of the job in the message.
    """

    serializer_field_mapping = FIELDS

    share = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()
    value = serializers.SerializerMethodField("get_yielded")

    class Meta:
        model = Progress
        fields = ("current", "total", "share", "message", "value", "updated_at")
        read_only_fields = fields

    def get_share(self, progress: Progress) -> float | None:
        return progress.share

    def get_message(self, progress: Progress) -> str:
        masks: Payload = self.context["masks"]
        return masks.text(progress.message, cut=255)

    @typed({})
    def get_yielded(self, progress: Progress) -> Any:
        payload = self.context.get("payload")
        return None if payload is None else payload.json(progress.value)


class JobDetailSerializer(JobSerializer):
    """A job with all its details.

    Without ``payload`` in the context, arguments, result, metadata and errors are null.
    """

    payload_visible = serializers.SerializerMethodField()
    args = serializers.SerializerMethodField()
    kwargs = serializers.SerializerMethodField()
    return_value = serializers.SerializerMethodField()
    metadata = serializers.SerializerMethodField()
    unreadable = serializers.SerializerMethodField(
        help_text=_(
            "The fields that are null because they cannot be read, with the number of stored characters."
        )
    )
    progress = serializers.SerializerMethodField()
    attempt_history = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = (
            *JobSerializer.Meta.fields,
            "payload_visible",
            "args",
            "kwargs",
            "return_value",
            "metadata",
            "unreadable",
            "progress",
            "attempt_history",
        )
        read_only_fields = fields

    def get_payload_visible(self, job: Job) -> bool:
        return self._payload is not None

    @typed({"type": "array", "items": {}, "nullable": True})
    def get_args(self, job: Job) -> Any:
        return self._payload and self._payload.arguments[0]

    @typed({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_kwargs(self, job: Job) -> Any:
        return self._payload and self._payload.arguments[1]

    @typed({})
    def get_return_value(self, job: Job) -> Any:
        return self._payload and self._payload.json(job.result)

    @typed({"type": "object", "additionalProperties": {}, "nullable": True})
    def get_metadata(self, job: Job) -> Any:
        return self._payload and self._payload.json(job.metadata)

    @typed({"type": "object", "additionalProperties": {"type": "integer"}, "nullable": True})
    def get_unreadable(self, job: Job) -> Any:
        return self._payload and job.unreadable()

    @typed(ProgressSerializer(allow_null=True))
    def get_progress(self, job: Job) -> Any:
        progress = getattr(job, "progress", None)
        context = {"masks": Payload(job), **self.context}
        return None if progress is None else ProgressSerializer(progress, context=context).data

    @typed(AttemptSerializer(many=True))
    def get_attempt_history(self, job: Job) -> list[dict[str, Any]]:
        return attempts_of(job, self.context)

    @property
    def _payload(self) -> Payload | None:
        payload: Payload | None = self.context.get("payload")
        return payload


def attempts_of(job: Job, context: Any) -> list[dict[str, Any]]:
    """Return the latest recorded attempts of a job, in their order."""
    # A first run is recorded only once it has failed.
    is_first = job.fence == 1 and job.status in {JobStatus.RUNNING, JobStatus.SUCCESSFUL}
    if job.fence == 0 or is_first:
        return []
    rows = Attempt.objects.using(job._state.db).filter(job_id=job.id).order_by("-fence")
    attempts: Any = AttemptSerializer(list(rows[:MAX_ATTEMPTS])[::-1], many=True, context=context).data
    return list(attempts)


class LogLineSerializer(serializers.ModelSerializer[LogLine]):
    """A log line of an attempt. The context needs ``payload``."""

    serializer_field_mapping = FIELDS

    level = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()

    class Meta:
        model = LogLine
        fields = ("id", "level", "logger", "message", "created_at")
        read_only_fields = fields

    def get_level(self, line: LogLine) -> str:
        return logging.getLevelName(line.level)

    def get_message(self, line: LogLine) -> str:
        payload: Payload = self.context["payload"]
        return payload.text(line.message)


class WorkerSerializer(serializers.ModelSerializer[Worker]):
    """A worker, with the data of its last heartbeat."""

    serializer_field_mapping = FIELDS

    is_alive = serializers.SerializerMethodField()
    queues = serializers.SerializerMethodField()

    class Meta:
        model = Worker
        fields: tuple[str, ...] = (
            "id",
            "name",
            "hostname",
            "pid",
            "backend",
            "queues",
            "processes",
            "threads",
            "async_concurrency",
            "version",
            "is_alive",
            "running_jobs",
            "memory",
            "started_at",
            "heartbeat_at",
            "lease_expires_at",
            "stop_requested_at",
            "stopped_at",
        )
        read_only_fields = fields

    def get_is_alive(self, worker: Worker) -> bool:
        return worker.stopped_at is None and worker.lease_expires_at > self.context["now"]

    def get_queues(self, worker: Worker) -> list[str]:
        try:
            queues = codec.loads(worker.queues)
        except ValueError:
            return []
        return queues if isinstance(queues, list) else []
