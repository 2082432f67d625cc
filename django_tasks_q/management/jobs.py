"""Jobs as ``manage.py tasks show`` and ``manage.py tasks jobs`` print them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from ..access import database
from ..definition.sensitive import masked_arguments, secrets_of, sensitive_names
from ..lifecycle.states import JobStatus
from ..models import Attempt, Job, Progress
from ..payload import codec
from ..payload.masking import cleaned, masked, redacted
from ..storage.orm.monitoring import INDEXED
from .job_filters import filtered
from .output import Printer


def show_job(printer: Printer, id: UUID) -> int:
    job = Job.objects.using(database()).filter(pk=id).first()
    if job is None:
        raise CommandError(f"No job has the id {id}.")
    facts = job_facts(job) | _data(job)
    printer.facts(facts)
    return 0


def _data(job: Job) -> dict[str, Any]:
    args: Any = None
    kwargs: Any = None
    secrets: set[str] = set()
    with suppress(ValueError):
        stored = codec.load_arguments(job.arguments)
        secrets = secrets_of(job.task_name, *stored)
        args, kwargs = masked_arguments(job.task_name, *stored)

    def shown(stored: str | None) -> Any:
        try:
            value = None if stored is None else codec.loads(stored)
        except ValueError:
            return None
        return cleaned(masked(value, sensitive_names(job.task_name)), secrets)

    attempts = Attempt._default_manager.using(database()).filter(job=job).order_by("fence")
    return {
        "args": args,
        "kwargs": kwargs,
        "result": shown(job.result),
        "metadata": shown(job.metadata),
        # Columns that cannot be read, with their lengths. Secrets in their text could not be masked.
        "unreadable": job.unreadable(),
        "progress": _progress(job, shown, secrets),
        "attempt_records": [
            {
                "number": attempt.number,
                "outcome": attempt.outcome,
                "finished_at": attempt.finished_at,
                "seconds": attempt.duration,
                "exception": attempt.exception_class,
                "message": redacted(attempt.message, secrets),
                "code": attempt.error_code,
            }
            for attempt in attempts[:100]
        ],
    }


def _progress(job: Job, shown: Callable[[str | None], Any], secrets: set[str]) -> dict[str, Any] | None:
    found = Progress._default_manager.using(database()).filter(job_id=job.pk).first()
    if found is None:
        return None
    return {
        "current": found.current,
        "total": found.total,
        "message": redacted(found.message, secrets, cut=255),
        "value": shown(found.value),
        "updated_at": found.updated_at,
    }


def _tags(job: Job) -> Any:
    try:
        return codec.loads(job.tags) if job.tags else []
    except ValueError:
        return []


def job_facts(job: Job) -> dict[str, Any]:
    """Return the columns of a job without its data."""
    return {
        "id": str(job.pk),
        "task": job.task_name,
        "status": job.status,
        "queue": job.queue_name,
        "backend": job.backend,
        "priority": job.priority,
        "tags": _tags(job),
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "crashes": job.crashes,
        "enqueued_at": job.enqueued_at,
        "run_after": job.run_after,
        "expires_at": job.expires_at,
        "timeout": job.timeout,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "seconds": job.duration,
        "error_code": job.error_code,
        "cancel_requested_at": job.cancel_requested_at,
        "cancel_reason": job.told_reason,
        "dismissed_at": job.dismissed_at,
        "pinned_at": job.pinned_at,
        "worker_id": job.worker_id,
        "parent_id": job.parent_id,
    }


def jobs(printer: Printer, options: dict[str, Any]) -> int:
    limit = options["limit"]
    if not 1 <= limit <= 10_000:
        raise CommandError("--limit must be between 1 and 10000.")
    order = INDEXED[JobStatus.READY] if options["status"] == "ready" else ("-id",)
    rows = list(filtered(options).with_reasons().order_by(*order)[:limit])
    titles = ("ID", "STATUS", "TASK", "QUEUE", "ATTEMPTS", "ENQUEUED", "ERROR")
    lines = [
        (
            job.pk,
            job.status,
            job.task_name,
            job.queue_name,
            f"{job.attempts}/{job.max_attempts}",
            job.enqueued_at,
            job.error_code,
        )
        for job in rows
    ]
    printer.table(titles, lines, [job_facts(job) for job in rows])
    return 0
