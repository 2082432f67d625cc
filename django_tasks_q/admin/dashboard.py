"""The dashboard: is it healthy, what is stuck, why, and what to press."""

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
from .base import jobs_of, may, require, sees_all, url
from .choices import known_queues_of_backends
from .counts import Overview

#: Backend and name of a queue.
Name = tuple[str, str]
#: Rows of settled queues and of schedules that are read.
MOST_QUEUES, MOST_SCHEDULES = 5_000, 1_000
#: What is shown of each.
SHOWN_QUEUES, MOST_WORKERS = 20, 10


class Tile(NamedTuple):
    label: str
    value: str
    link: str = ""
    kind: str = ""


def dashboard(admin: Any, request: HttpRequest) -> HttpResponse:
    """A number of queries of its own that does not grow with what there is."""
    require(request, "view_job")
    chosen = request.GET.get("span", "1h")
    problem = ""
    if chosen not in statistics.SPANS:
        chosen, problem = "1h", _("That span of time is not on offer: this is the last hour.")
    jobs, everything = jobs_of(request), sees_all()
    settled = Queue._default_manager.using(database()).order_by("backend", "name")
    queues = [] if is_narrowed(request) else list(settled[:MOST_QUEUES])
    overview = Overview.of(jobs).with_queues(jobs, queues)
    fleet = worker_display.Fleet.now()
    schedules = _schedules(request) if may(request, "view_schedule") else []
    span = statistics.span_of(chosen, lately=True) if everything else None
    tasks = statistics.tasks_of(chosen) if everything else []
    recent = statistics.Recent.of_jobs(jobs) if span is None else span.recent
    may_workers, may_queues = may(request, "view_worker"), may(request, "view_queue")
    found = notices.notices(
        overview, fleet, queues, schedules, recent, may_workers=may_workers, may_queues=may_queues
    )
    names = queue_names(overview, queues)
    context = {
        "problem": problem,
        "tiles": _tiles(overview, span.failed_lately if span else None),
        "notices": found,
        "is_healthy": not found,
        "recent": recent.told if recent is not None else "",
        "spans": [
            (name, label, name == chosen) for name, (label, _length, _step) in statistics.SPANS.items()
        ],
        "chart": span.chart if span else None,
        "is_scoped": not everything,
        "queues": queue_rows(_notable(names, overview), overview, fleet, queues, span),
        "all_queues": len(names),
        "slowest": sorted(tasks, key=lambda row: (-row.seconds, row.name))[:5],
        "failing": statistics.worst(tasks),
        "may_workers": may_workers,
        "may_queues": may_queues,
        "schedules": list(map(schedule_display.line, schedules[:5])),
        "live": True,
        **(_workers(fleet) if may_workers else {}),
    }
    response: HttpResponse = admin.page(
        request, "dashboard", _("Dashboard"), context, fragment="dashboard_live"
    )
    return response


def _workers(fleet: worker_display.Fleet) -> dict[str, Any]:
    return {
        "workers": [worker_display.line(worker) for worker in fleet.workers[:MOST_WORKERS]],
        "all_workers": len(fleet.workers),
        "alive": len(fleet.at_work),
        "late": len(fleet.late),
    }


def _schedules(request: HttpRequest) -> list[Schedule]:
    """Those that come next, and before them those that are late or have no next time."""
    rows = scope_schedules(request, Schedule.objects.using(database()).wanted())
    return list(rows.order_by(F("next_at").asc(nulls_first=True))[:MOST_SCHEDULES])


def _tiles(overview: Overview, failed_lately: int | None) -> list[Tile]:
    oldest = min(overview.oldest.values(), default=None)
    age = formatting.roughly((timezone.now() - oldest).total_seconds()) if oldest else "–"
    waits_long = oldest is not None and timezone.now() - oldest > notices.PATIENCE

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


def queue_names(overview: Overview, queues: Sequence[Any]) -> list[Name]:
    """Every queue that settings, tasks, jobs or people name."""
    settled = {(queue.backend, queue.name) for queue in queues}
    return sorted({*known_queues_of_backends(), *overview.queues, *settled})


def _notable(names: Sequence[Name], overview: Overview) -> list[Name]:
    """Those in which most is going on, in the order of their names."""
    if len(names) <= SHOWN_QUEUES:
        return list(names)

    def size(name: Name) -> tuple[int, int, int]:
        ready, running = overview.number(name, "ready"), overview.number(name, "running")
        return ready, running, overview.number(name, "scheduled")

    return sorted(sorted(names, key=size, reverse=True)[:SHOWN_QUEUES])


def queue_rows(
    names: Iterable[Name],
    overview: Overview,
    fleet: worker_display.Fleet,
    queues: Iterable[Any],
    span: statistics.Span | None,
) -> list[dict[str, Any]]:
    """What tables of queues show of each."""
    settled = {(queue.backend, queue.name): queue for queue in queues}
    return [
        _queue_row(name, overview, fleet, settled.get(name), span.queues.get(name[1]) if span else None)
        for name in names
    ]


def _queue_row(
    name: Name,
    overview: Overview,
    fleet: worker_display.Fleet,
    row: Any,
    told: tuple[str, int, int] | None,
) -> dict[str, Any]:
    room = fleet.room(name)
    limit = row.max_running if row is not None else None
    most = min(filter(None, (room, limit)), default=0)
    running = overview.number(name, "running")
    oldest = overview.oldest.get(name)
    line, started, ended = told or ("", 0, 0)
    return {
        "backend": name[0],
        "name": name[1],
        "row": row,
        "is_paused": row is not None and row.is_paused,
        "paused_until": formatting.since(row.paused_until) if row is not None and row.paused_until else "",
        "paused_at": formatting.since(row.paused_at) if row is not None and row.paused_at else "",
        "ready": overview.count(name, "ready"),
        "scheduled": overview.count(name, "scheduled"),
        "running": running,
        "room": room,
        "limit": limit,
        "most": most,
        "utilisation": min(100, round(100 * running / most)) if most else None,
        "oldest": formatting.roughly((timezone.now() - oldest).total_seconds()) if oldest else "",
        "spark": line,
        "started": started,
        "ended": ended,
        "is_unserved": not room and overview.number(name, "ready") > 0,
        "jobs_url": url("job_changelist", queue=name[1]),
    }
