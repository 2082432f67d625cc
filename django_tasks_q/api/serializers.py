"""Jobs as JSON. Names in rows are text: nothing is looked up or imported by them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from ..models import Attempt, Job

#: A job may have had thousands of attempts, each with a long traceback.
MAX_ATTEMPTS = 100


class AttemptSerializer(serializers.ModelSerializer[Attempt]):
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
        )
        read_only_fields = fields


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job in a list: nothing that can be large."""

    task = serializers.CharField(source="task_name", read_only=True)
    queue = serializers.CharField(source="queue_name", read_only=True)

    class Meta:
        model = Job
        fields: tuple[str, ...] = (
            "id",
            "task",
            "queue",
            "backend",
            "priority",
            "status",
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
        )
        read_only_fields = fields


class StoredJSON(serializers.JSONField):
    """A value from a column of JSON; null if that cannot be read."""

    def get_attribute(self, instance: Job) -> Any:
        try:
            return super().get_attribute(instance)
        except (LookupError, TypeError, ValueError):
            return None


class JobDetailSerializer(JobSerializer):
    args = StoredJSON(read_only=True, allow_null=True)
    kwargs = StoredJSON(read_only=True, allow_null=True)
    return_value = StoredJSON(read_only=True, allow_null=True)
    attempt_history = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = (*JobSerializer.Meta.fields, "args", "kwargs", "return_value", "attempt_history")
        read_only_fields = fields

    def get_attempt_history(self, job: Job) -> list[dict[str, Any]]:
        rows = Attempt.objects.using(job._state.db).filter(job_id=job.id).order_by("-fence")
        attempts: Any = AttemptSerializer(list(rows[:MAX_ATTEMPTS])[::-1], many=True).data
        return list(attempts)
