"""The dashboard: counts, throughput, and notices about what needs attention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from ..access import database, is_narrowed, scope_schedules
from ..models import Queue, Schedule
from . import formatting, notices, schedule_display, statistics, worker_display
from .base import jobs_of, may, require, sees_all_jobs, url
from .choices import known_queues_of_backends
from .counts import JobCounts

#: Backend and name of a queue.
Name = tuple[str, str]
#: The most rows of queues and of schedules that are read.
MAX_QUEUES, MAX_SCHEDULES = 5_000, 1_000
#: The most queues and workers that are shown.
MAX_QUEUES_SHOWN, MAX_WORKERS = 20, 10


class Tile(NamedTuple):
    label: str
    value: str
    link: str = ""
    kind: str = ""


def dashboard_view(admin: Any, request: HttpRequest) -> HttpResponse:
    """Show the dashboard. The number of queries does not depend on the amount of data."""
    require(request, "view_job")
    chosen, problem = _chosen_span(request)
    jobs, everything = jobs_of(request), sees_all_jobs()
    stored = Queue._default_manager.using(database()).order_by("backend", "name")
    queues = [] if is_narrowed(request) else list(stored[:MAX_QUEUES])
    counts = JobCounts.of(jobs).with_queues(jobs, queues)
    workers = worker_display.RecentWorkers.now()
    schedules = _schedules(request) if may(request, "view_schedule") else []
    span = statistics.span_of(chosen, lately=True) if everything else None
    tasks = statistics.tasks_of(chosen) if everything else []
    recent = statistics.Recent.of_jobs(jobs) if span is None else span.recent
    may_workers, may_queues = may(request, "view_worker"), may(request, "view_queue")
    found = notices.notices(
        counts, workers, queues, schedules, recent, may_workers=may_workers, may_queues=may_queues
    )
    names = queue_names(counts, queues)
    context = {
        "problem": problem,
        "tiles": _tiles(counts, span.failed_lately if span else None),
        "notices": found,
        "is_healthy": not found,
        "recent": recent.text if recent is not None else "",
        "spans": [(name, label, name == chosen) for name, (label, *_times) in statistics.SPANS.items()],
        "chart": span.chart if span else None,
        "is_scoped": not everything,
        "queues": queue_rows(_notable(names, counts), counts, workers, queues, span),
        "all_queues": len(names),
        "slowest": sorted(tasks, key=lambda row: (-row.seconds, row.name))[:5],
        "failing": statistics.worst(tasks),
        "may_workers": may_workers,
        "may_queues": may_queues,
        "schedules": list(map(schedule_display.table_row, schedules[:5])),
        "live": True,
        **(_workers(workers) if may_workers else {}),
    }
    response: HttpResponse = admin.page(
        request, "dashboard", _("Dashboard"), context, fragment="dashboard_live"
    )
    return response


def _chosen_span(request: HttpRequest) -> tuple[str, str]:
    """Return the span that the query names, and a message if it is unknown and another one is shown."""
    name = request.GET.get("span", "1h")
    if name in statistics.SPANS:
        return name, ""
    return "1h", _("This period is not available. The last hour is shown.")


def _workers(workers: worker_display.RecentWorkers) -> dict[str, Any]:
    return {
        "workers": [worker_display.table_row(worker) for worker in workers.workers[:MAX_WORKERS]],
        "all_workers": len(workers.workers),
        "alive": len(workers.running),
        "late": len(workers.late),
    }


def _schedules(request: HttpRequest) -> list[Schedule]:
    """Return the schedules by their next time: those that have none or are late come first."""
    rows = scope_schedules(request, Schedule.objects.using(database()).wanted())
    return list(rows.order_by(F("next_at").asc(nulls_first=True))[:MAX_SCHEDULES])


def _tiles(counts: JobCounts, failed_lately: int | None) -> list[Tile]:
    oldest = min(counts.oldest.values(), default=None)
    age = formatting.roughly((timezone.now() - oldest).total_seconds()) if oldest else "–"
    waits_long = oldest is not None and timezone.now() - oldest > notices.LONG_WAIT

    def tab(name: str, label: str, kind: str = "") -> Tile:
        return Tile(label, counts.shown(name), url("job_changelist", status=name), kind)

    return [
        tab("ready", _("Ready")),
        tab("running", _("Running")),
        tab("scheduled", _("Scheduled")),
        tab("retrying", _("Retrying"), "warn" if counts.total["retrying"] else ""),
        _failed_tile(counts, failed_lately),
        Tile(_("Oldest ready"), age, url("job_changelist", status="ready"), "warn" if waits_long else ""),
    ]


def _failed_tile(counts: JobCounts, lately: int | None) -> Tile:
    if lately is None:
        # Statistics cover all jobs. A user who may see only some gets the count of failures among these.
        is_any = counts.total["failed"] > 0
        return Tile(_("Failed"), counts.shown("failed"), url("failed"), "bad" if is_any else "")
    return Tile(_("Failed in 24 h"), f"{lately:,}", url("failed"), "bad" if lately else "")


def queue_names(counts: JobCounts, queues: Sequence[Any]) -> list[Name]:
    """Return every queue that settings, tasks, jobs or stored rows name."""
    stored = {(queue.backend, queue.name) for queue in queues}
    return sorted({*known_queues_of_backends(), *counts.queues, *stored})


def _notable(names: Sequence[Name], counts: JobCounts) -> list[Name]:
    """Return the busiest queues, in the order of their names."""
    if len(names) <= MAX_QUEUES_SHOWN:
        return list(names)

    def size(name: Name) -> tuple[int, int, int]:
        ready, running = counts.number(name, "ready"), counts.number(name, "running")
        return ready, running, counts.number(name, "scheduled")

    return sorted(sorted(names, key=size, reverse=True)[:MAX_QUEUES_SHOWN])


def queue_rows(
    names: Iterable[Name],
    counts: JobCounts,
    workers: worker_display.RecentWorkers,
    queues: Iterable[Any],
    span: statistics.Span | None,
) -> list[dict[str, Any]]:
    """Return what tables show of each queue."""
    stored = {(queue.backend, queue.name): queue for queue in queues}
    return [
        _queue_row(name, counts, workers, stored.get(name), span.queues.get(name[1]) if span else None)
        for name in names
    ]


def _queue_row(
    name: Name,
    counts: JobCounts,
    workers: worker_display.RecentWorkers,
    row: Any,
    activity: tuple[str, int, int] | None,
) -> dict[str, Any]:
    processes = workers.processes_for(name)
    limit = row.max_running if row is not None else None
    most = min(filter(None, (processes, limit)), default=0)
    running = counts.number(name, "running")
    oldest = counts.oldest.get(name)
    line, started, ended = activity or ("", 0, 0)
    return {
        "backend": name[0],
        "name": name[1],
        "row": row,
        "is_paused": row is not None and row.is_paused,
        "paused_until": formatting.since(row.paused_until) if row is not None and row.paused_until else "",
        "paused_at": formatting.since(row.paused_at) if row is not None and row.paused_at else "",
        "ready": counts.count(name, "ready"),
        "scheduled": counts.count(name, "scheduled"),
        "running": running,
        "processes": processes,
        "limit": limit,
        "most": most,
        "utilisation": min(100, round(100 * running / most)) if most else None,
        "oldest": formatting.roughly((timezone.now() - oldest).total_seconds()) if oldest else "",
        "spark": line,
        "started": started,
        "ended": ended,
        "is_unserved": not processes and counts.number(name, "ready") > 0,
        "jobs_url": url("job_changelist", queue=name[1]),
    }
