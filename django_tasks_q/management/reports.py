"""The verbs of ``manage.py tasks`` that change nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.utils import timezone

from ..access import database
from ..definition.registry import registry
from ..exceptions import TaskNotRegistered
from ..lifecycle.states import JobStatus
from ..models import Job, Queue, Statistic
from ..models.statistic import percentiles
from ..monitoring.descriptions import described, line
from ..storage import storage_for
from ..storage.orm.monitoring import capped_counts
from ..storage.orm.queue_counts import QueueCounts
from .health import add_health, health
from .job_filters import add_filters
from .jobs import jobs, show_job
from .output import Printer
from .workers import workers

#: Up to how many jobs of a state are counted.
CAP = 10_000


def add_reports(commands: Any) -> Iterator[ArgumentParser]:
    listing = commands.add_parser("list", help="all tasks, with their queues and options")
    listing.add_argument("--tag", help="only tasks with this tag")
    yield listing
    show = commands.add_parser("show", help="a task by its name, or a job by its id")
    show.add_argument("name", help="name of a task, or id of a job")
    yield show
    jobs = commands.add_parser(
        "jobs", help="jobs, the newest first; ready jobs in the order in which workers claim them"
    )
    add_filters(jobs)
    jobs.add_argument("--limit", type=int, default=50, metavar="N", help="at most this many (default: 50)")
    yield jobs
    yield commands.add_parser("stats", help="numbers of jobs, and statistics of the last hour")
    yield commands.add_parser("workers", help="workers, and whether they are alive")
    yield add_health(commands)


def list_tasks(printer: Printer, options: dict[str, Any]) -> int:
    tag = options.get("tag")
    found = sorted((task for task in registry if tag is None or tag in task.tags), key=lambda task: task.name)
    titles = ("TASK", "QUEUE", "RUNS IN", "ATTEMPTS", "DESCRIPTION")
    printer.table(titles, [line(task) for task in found], [described(task) for task in found])
    return 0


def show(printer: Printer, options: dict[str, Any]) -> int:
    try:
        return show_job(printer, UUID(options["name"]))
    except ValueError:
        pass
    try:
        printer.facts(described(registry.get(options["name"])))
    except TaskNotRegistered as error:
        raise CommandError(str(error)) from error
    return 0


def stats(printer: Printer, options: dict[str, Any]) -> int:
    alias = database()
    counts: dict[str, int] = dict.fromkeys([status.lower() for status in JobStatus.values], 0)
    for status, _task_name, _worker, _again, count in capped_counts(alias, Job.objects.using(alias), CAP + 1):
        counts[status.lower()] = counts.get(status.lower(), 0) + count
    paused = {(row.backend, row.name): row for row in Queue._default_manager.using(alias).all()[:1000]}
    storage = storage_for(alias)
    queues = storage.queues.count({*storage.queues.busy(), *paused}, cap=CAP)
    since = timezone.now() - timedelta(hours=1)
    tasks = Statistic.objects.using(alias).by_task(since)
    data = {
        "counted_to": CAP,
        "jobs": counts,
        "queues": [
            {
                "backend": name[0],
                "queue": name[1],
                **_queue(queues[name]),
                "paused": name in paused and paused[name].is_paused,
                "max_running": paused[name].max_running if name in paused else None,
            }
            for name in sorted(queues)
        ],
        "last_hour": [_task(row) for row in tasks],
    }
    if printer.as_json:
        printer.json(data)
        return 0
    shown = {name: f"{CAP}+" if count > CAP else str(count) for name, count in counts.items()}
    printer.facts(shown)
    for title, rows in (("queues", data["queues"]), ("last_hour", data["last_hour"])):
        if rows:
            printer.write("")
            found: Any = rows
            titles = [name.upper().replace("_", " ") for name in found[0]]
            printer.table(titles, [list(row.values()) for row in found], None)
        else:
            printer.write(f"\n{title.replace('_', ' ')}: nothing")
    return 0


def _queue(counts: QueueCounts) -> dict[str, Any]:
    """Return the numbers of jobs in a queue. States named in ``at_least`` have more than were counted."""
    states = {"ready": counts.ready, "running": counts.running, "scheduled": counts.scheduled}
    since = counts.ready_since
    age = None if since is None else round(max(0.0, (timezone.now() - since).total_seconds()), 1)
    return {
        **{name: count.number for name, count in states.items()},
        "at_least": [name for name, count in states.items() if count.is_capped],
        "oldest_ready": age,
    }


def _task(row: dict[str, Any]) -> dict[str, Any]:
    half, most = percentiles(row).values()
    return {
        "task": row["task_name"],
        "succeeded": row["successful"],
        "failed": row["failed"],
        "retried": row["retried"],
        "crashed": row["crashed"],
        "p50": None if half is None else round(half, 4),
        "p95": None if most is None else round(most, 4),
    }


REPORTS = {
    "list": list_tasks,
    "show": show,
    "jobs": jobs,
    "stats": stats,
    "workers": workers,
    "health": health,
}
