"""The content of the page of one job."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..access import database
from ..definition.registry import is_internal
from ..lifecycle.outcome import AttemptOutcome
from ..lifecycle.states import JobStatus
from ..models import Attempt, Job, LogLine, Worker
from ..payload import codec
from . import formatting, payload, schedule_display
from .base import jobs_of, may, url

#: The most rows of each kind that are shown.
MAX_ATTEMPTS = 100
MAX_LINES = 200
MAX_CHILDREN = 20


class Event(NamedTuple):
    """A point of the timeline."""

    time: datetime | None
    label: str
    kind: str
    detail: str = ""

    @property
    def when(self) -> SafeString | str:
        return formatting.timestamp(self.time) if self.time else ""


def context(request: HttpRequest, job: Job) -> dict[str, Any]:
    """Return the context of the template. It takes six queries, that of the job included."""
    attempts = _attempts(job)
    data = payload.Payload.of(job.task_name, job.arguments)
    is_open = payload.is_open(request)
    workers = _workers(job, attempts) if may(request, "view_worker") else {}
    parent, children = _relatives(request, job)
    return {
        "job": job,
        "badge": formatting.state(job),
        "facts": list(_facts(job, workers)),
        "tags": _tags(job),
        "schedule": schedule_display.of_job(job),
        "events": _timeline(job, attempts),
        "attempts": [
            _attempt(attempt, workers, data, is_open, job.task_name) for attempt in attempts[:MAX_ATTEMPTS]
        ],
        "more_attempts": len(attempts) > MAX_ATTEMPTS,
        "is_open": is_open,
        "args": formatting.pretty(data.args),
        "kwargs": formatting.pretty(data.kwargs),
        "result": payload.stored_of(job.task_name, job.result, data) if job.result is not None else "",
        "has_result": job.result is not None,
        "metadata": payload.stored_of(job.task_name, job.metadata, data) if job.metadata else "",
        "progress": _progress(job, data),
        "lines": _log_lines(job, data) if is_open else [],
        "parent": parent,
        "children": children[:MAX_CHILDREN],
        "more_children": len(children) > MAX_CHILDREN,
        "history": _history(job),
        "may_run_again": is_open and may(request, "add_job") and not is_internal(job.task_name),
        "again_url": url("job_again", job.pk),
    }


def _attempts(job: Job) -> list[Attempt]:
    # A first attempt has an Attempt row only after it has failed.
    if job.fence == 0:
        return []
    rows = Attempt._default_manager.using(database()).filter(job_id=job.pk).order_by("-fence")
    return list(rows[: MAX_ATTEMPTS + 1])


def _workers(job: Job, attempts: Iterable[Attempt]) -> dict[Any, str]:
    ids = {id for id in (job.worker_id, *(attempt.worker_id for attempt in attempts)) if id}
    rows = Worker._default_manager.using(database()).filter(id__in=ids)
    return dict(rows.values_list("id", "name"))


def _attempt(
    attempt: Attempt, workers: dict[Any, str], data: payload.Payload, is_open: bool, task_name: str
) -> dict[str, Any]:
    outcome = attempt.outcome
    kind = {"successful": "successful", "released": "cancelled", "snoozed": "scheduled"}.get(
        outcome, "failed"
    )
    return {
        "row": attempt,
        "badge": formatting.badge(_outcome_label(outcome), kind),
        "worker": workers.get(attempt.worker_id, attempt.worker_id or ""),
        "took": "" if attempt.duration is None else formatting.duration(attempt.duration),
        "ended": formatting.since(attempt.finished_at),
        "message": formatting.shortened(data.without_secrets(attempt.message)) if is_open else "",
        "traceback": formatting.shortened(data.without_secrets(attempt.traceback)) if is_open else "",
        "data": payload.stored_of(task_name, attempt.data, data) if is_open and attempt.data else "",
    }


def _facts(job: Job, workers: dict[Any, str]) -> Iterator[tuple[str, Any]]:
    yield _("Queue"), job.queue_name
    yield _("Priority"), job.priority
    yield _("Backend"), job.backend
    yield _("Attempts"), _("%(runs)d of %(allowed)d") % {"runs": job.attempts, "allowed": job.max_attempts}
    if job.crashes:
        yield _("Crashes"), job.crashes
    yield _("Enqueued"), formatting.timestamp(job.enqueued_at)
    if job.status == JobStatus.SCHEDULED and job.run_after:
        yield _("Starts"), formatting.since(job.run_after)
    if job.started_at:
        yield _("Waiting time"), formatting.duration(_waited(job))
    if job.duration is not None:
        yield _("Run time"), formatting.duration(job.duration)
    if job.timeout is not None:
        yield _("Timeout"), formatting.duration(job.timeout)
    if job.expires_at:
        yield _("Expires"), formatting.timestamp(job.expires_at)
    if job.worker_id:
        yield _("Worker"), workers.get(job.worker_id, job.worker_id)
    if job.error_code:
        yield _("Error code"), job.error_code
    if job.cancel_requested_at:
        yield _("Cancellation requested"), formatting.since(job.cancel_requested_at)
    if job.cancel_reason:
        yield _("Reason"), job.told_reason
    if job.pinned_at:
        yield _("Kept"), _("not deleted after its retention period")
    if job.dismissed_at:
        yield _("Dismissed"), formatting.since(job.dismissed_at)


def _waited(job: Job) -> float:
    start = max(filter(None, (job.enqueued_at, job.run_after)), default=job.enqueued_at)
    if job.started_at is None or start > job.started_at:
        start = job.enqueued_at
    return max(0.0, ((job.started_at or start) - start).total_seconds())


def _tags(job: Job) -> list[str]:
    stored = job.tags or "[]"
    try:
        found = codec.loads(stored)
    except ValueError:
        return [formatting.unreadable(stored)]
    return [str(tag) for tag in found] if isinstance(found, list) else []


def _timeline(job: Job, attempts: Iterable[Attempt]) -> list[Event]:
    events = [Event(job.enqueued_at, _("Enqueued"), "ready")]
    last = job.enqueued_at
    for attempt in sorted(attempts, key=lambda each: each.fence):
        events.extend(_attempt_events(attempt, last))
        last = attempt.finished_at
    recorded = {attempt.started_at for attempt in attempts}
    if job.last_attempted_at and job.last_attempted_at not in recorded and job.last_attempted_at >= last:
        events.append(
            Event(job.last_attempted_at, _("Started"), "running", _after(last, job.last_attempted_at))
        )
    if job.cancel_requested_at:
        events.append(
            Event(job.cancel_requested_at, _("Cancellation requested"), "cancelled", job.told_reason)
        )
    if job.status == JobStatus.SCHEDULED and job.run_after:
        events.append(Event(job.run_after, _("Scheduled start"), "scheduled"))
    events.sort(key=lambda event: event.time or job.enqueued_at)
    if job.finished_at:
        events.append(Event(job.finished_at, formatting.state_label(job), job.status.lower()))
    return events


def _attempt_events(attempt: Attempt, last: datetime) -> Iterator[Event]:
    """Yield the start and the end of an attempt. ``last`` is the time of the event before it."""
    number, outcome = attempt.number, attempt.outcome
    if attempt.started_at:
        label = _("Attempt %(number)d started") % {"number": number}
        yield Event(attempt.started_at, label, "running", _after(last, attempt.started_at))
    detail = ""
    if attempt.duration:
        detail = _("ran for %(time)s") % {"time": formatting.duration(attempt.duration)}
    label = _("Attempt %(number)d: %(outcome)s") % {"number": number, "outcome": _outcome_label(outcome)}
    yield Event(attempt.finished_at, label, "successful" if outcome == "successful" else "failed", detail)


def _outcome_label(outcome: str) -> str:
    """Return the label of an outcome, or the stored text if another release has stored it."""
    return str(AttemptOutcome(outcome).label) if outcome in AttemptOutcome.values else outcome


def _after(start: datetime, end: datetime) -> str:
    return _("after %(time)s") % {"time": formatting.duration(max(0.0, (end - start).total_seconds()))}


def _progress(job: Job, data: payload.Payload) -> dict[str, Any] | None:
    found = getattr(job, "progress", None)
    return progress_of(found, data) if found is not None else None


def progress_of(found: Any, data: payload.Payload | None) -> dict[str, Any]:
    """Return the progress of a job. Without ``data`` the secrets are unknown, and the message is left out."""
    share = found.share
    return {
        "row": found,
        "message": data.without_secrets(found.message, cut=255) if data is not None else "",
        "percent": None if share is None else round(share * 100),
        "updated": formatting.since(found.updated_at),
    }


def _log_lines(job: Job, data: payload.Payload) -> list[dict[str, Any]]:
    rows = LogLine._default_manager.using(database()).filter(job_id=job.pk).order_by("-id")[:MAX_LINES]
    return [
        {
            "row": line,
            "level": logging.getLevelName(line.level),
            "message": formatting.shortened(data.without_secrets(line.message)),
        }
        for line in reversed(rows)
    ]


def _relatives(request: HttpRequest, job: Job) -> tuple[Any, list[Any]]:
    related = Q(parent_id=job.pk)
    if job.parent_id:
        related |= Q(pk=job.parent_id)
    rows = jobs_of(request).filter(related).without_payload().order_by("id")[: MAX_CHILDREN + 2]
    found: list[dict[str, Any]] = [{"row": each, "badge": formatting.state(each)} for each in rows]
    parent = next((each for each in found if each["row"].pk == job.parent_id), None)
    return parent, [each for each in found if each is not parent]


def _history(job: Job) -> list[LogEntry]:
    kind = ContentType.objects.get_for_model(Job)
    rows = LogEntry.objects.filter(content_type_id=kind.pk, object_id=str(job.pk)).select_related("user")
    return list(rows.order_by("-action_time")[:20])
