"""The dashboard: is it healthy, what is stuck, why, and what to press."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from ..models import Queue, Schedule, Worker
from ..scope import database
from . import attention, figures, staff, text, timetable
from .base import jobs_of, may, require, sees_all, url
from .choices import known_queues_of_backends
from .overview import Overview


class Tile(NamedTuple):
    label: str
    value: str
    link: str = ""
    kind: str = ""


def dashboard(admin: Any, request: HttpRequest) -> HttpResponse:
    """Six queries of its own."""
    require(request, "view_job")
    chosen = request.GET.get("span", "1h")
    problem = ""
    if chosen not in figures.SPANS:
        chosen, problem = "1h", _("That span of time is not on offer: this is the last hour.")
    overview = Overview.of(jobs_of(request))
    since = timezone.now() - staff.RECENT
    everyone = staff.with_life(Worker._default_manager.using(database()))
    workers = [
        worker
        for worker in everyone.order_by("-started_at")[:200]
        if worker.stopped_at is None and (worker.is_alive or worker.heartbeat_at > since)
    ]
    queues = list(Queue._default_manager.using(database()).order_by("backend", "name")[:1000])
    schedules = _schedules() if may(request, "view_schedule") else []
    everything = sees_all()
    span = figures.span_of(chosen, lately=True) if everything else None
    tasks = figures.tasks_of(chosen) if everything else []
    notices = attention.notices(overview, workers, queues, schedules)
    context = {
        "problem": problem,
        "tiles": _tiles(overview, span.failed_lately if span else None),
        "notices": notices,
        "is_healthy": not notices,
        "spans": [(name, label, name == chosen) for name, (label, _length, _step) in figures.SPANS.items()],
        "chart": span.chart if span else None,
        "is_scoped": not everything,
        "queues": queue_rows(overview, workers, queues, span)[:20],
        "slowest": sorted(tasks, key=lambda row: (-row.seconds, row.name))[:5],
        "failing": figures.worst(tasks),
        "workers": [staff.line(worker) for worker in workers[:10]] if may(request, "view_worker") else [],
        "schedules": list(map(timetable.line, schedules[:5])),
        "alive": sum(map(staff.is_at_work, workers)),
        "late": sum(map(staff.is_late, workers)),
        "live": True,
    }
    response: HttpResponse = admin.page(
        request, "dashboard", _("Dashboard"), context, fragment="dashboard_live"
    )
    return response


def _schedules() -> list[Schedule]:
    """Those that come next, and before them those that are late or have no next time."""
    rows = Schedule.objects.using(database()).wanted()
    return list(rows.order_by(F("next_at").asc(nulls_first=True))[:100])


def _tiles(overview: Overview, failed_lately: int | None) -> list[Tile]:
    oldest = min(overview.oldest.values(), default=None)
    age = text.roughly((timezone.now() - oldest).total_seconds()) if oldest else "–"
    waits_long = oldest is not None and timezone.now() - oldest > attention.PATIENCE

    def tab(name: str, label: str, kind: str = "") -> Tile:
        return Tile(label, overview.shown(name), url("job_changelist", status=name), kind)

    return [
        tab("ready", _("Ready")),
        tab("running", _("Running")),
        tab("scheduled", _("Scheduled")),
        tab("retrying", _("Retrying"), "warn" if overview.total["retrying"] else ""),
        _failed_tile(overview, failed_lately),
        Tile(_("Oldest ready"), age, url("job_changelist", status="ready"), "warn" if waits_long else ""),
    ]


def _failed_tile(overview: Overview, lately: int | None) -> Tile:
    if lately is None:
        # Statistics are about everybody's jobs: who sees some of them is told of the failures among these.
        is_any = overview.total["failed"] > 0
        return Tile(_("Failed"), overview.shown("failed"), url("failed"), "bad" if is_any else "")
    return Tile(_("Failed in 24 h"), f"{lately:,}", url("failed"), "bad" if lately else "")


def queue_rows(
    overview: Overview, workers: list[Any], queues: list[Any], span: figures.Span | None
) -> list[dict[str, Any]]:
    """Every queue that settings, tasks, jobs or people name."""
    settled = {(queue.backend, queue.name): queue for queue in queues}
    names = {*known_queues_of_backends(), *overview.ready, *overview.running, *overview.scheduled, *settled}
    return [
        _queue_row(name, overview, workers, settled.get(name), span.queues.get(name[1]) if span else None)
        for name in sorted(names)
    ]


def _queue_row(
    name: tuple[str, str],
    overview: Overview,
    workers: list[Any],
    row: Any,
    told: tuple[str, int, int] | None,
) -> dict[str, Any]:
    room = staff.room(workers, name)
    limit = row.max_running if row is not None else None
    most = min(filter(None, (room, limit)), default=0)
    running = overview.running[name]
    oldest = overview.oldest.get(name)
    line, started, ended = told or ("", 0, 0)
    return {
        "backend": name[0],
        "name": name[1],
        "row": row,
        "is_paused": row is not None and row.is_paused,
        "paused_until": text.since(row.paused_until) if row is not None and row.paused_until else "",
        "paused_at": text.since(row.paused_at) if row is not None and row.paused_at else "",
        "ready": overview.ready[name],
        "scheduled": overview.scheduled[name],
        "running": running,
        "room": room,
        "limit": limit,
        "most": most,
        "utilisation": min(100, round(100 * running / most)) if most else None,
        "oldest": text.roughly((timezone.now() - oldest).total_seconds()) if oldest else "",
        "spark": line,
        "started": started,
        "ended": ended,
        "is_unserved": not room and overview.ready[name] > 0,
        "jobs_url": url("job_changelist", queue=name[1]),
    }
