"""The verbs of ``manage.py tasks`` that change nothing."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db import Error
from django.db.models import BooleanField, Case, Q, Value, When
from django.utils import timezone

from ..access import database
from ..definition.registry import registry
from ..definition.sensitive import masked_arguments, secrets_of, sensitive_names
from ..exceptions import TaskNotRegistered
from ..lifecycle.states import JobStatus
from ..models import Attempt, Job, Progress, Queue, Statistic, Worker
from ..models.statistic import percentiles
from ..models.worker import names_in
from ..monitoring.descriptions import described, line
from ..payload import codec
from ..payload.masking import cleaned, masked, redacted
from ..storage import claimable, storage_for
from ..storage.orm.clock import DatabaseNow
from ..storage.orm.monitoring import INDEXED, capped_counts
from ..storage.orm.queue_counts import QueueCounts
from ..worker.heartbeat_file import read
from .arguments import filled
from .backends import chosen
from .job_filters import add_filters, check_queue, filtered
from .output import Printer

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
    health = commands.add_parser(
        "health", help="for probes: exit status 0 if all is well, 1 if not, 2 if that is unknown"
    )
    health.add_argument(
        "--heartbeat-file",
        type=filled,
        metavar="PATH",
        help="read this file of a worker, and ask no database",
    )
    health.add_argument("--queue", type=filled, metavar="NAME", help="a worker must serve this queue")
    health.add_argument(
        "--force", action="store_true", help="accept a queue that no task, job or setting names"
    )
    health.add_argument("--backend", type=filled, metavar="ALIAS", help="only workers of this backend count")
    health.add_argument(
        "--max-age", type=float, metavar="SECONDS", help="no job may have been ready for longer than this"
    )
    yield health


def list_tasks(printer: Printer, options: dict[str, Any]) -> int:
    tag = options.get("tag")
    found = sorted((task for task in registry if tag is None or tag in task.tags), key=lambda task: task.name)
    titles = ("TASK", "QUEUE", "RUNS IN", "ATTEMPTS", "DESCRIPTION")
    printer.table(titles, [line(task) for task in found], [described(task) for task in found])
    return 0


def show(printer: Printer, options: dict[str, Any]) -> int:
    try:
        return _show_job(printer, UUID(options["name"]))
    except ValueError:
        pass
    try:
        printer.facts(described(registry.get(options["name"])))
    except TaskNotRegistered as error:
        raise CommandError(str(error)) from error
    return 0


def _show_job(printer: Printer, id: UUID) -> int:
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


def _workers() -> list[Any]:
    holds = When(Q(lease_expires_at__gt=DatabaseNow()), then=Value(True))
    alive = Case(holds, default=Value(False), output_field=BooleanField())
    rows = Worker._default_manager.using(database()).annotate(is_alive=alive)
    return list(rows.order_by("-started_at")[:1000])


def _state(worker: Any) -> str:
    if worker.stopped_at is not None:
        return "stopped"
    if not worker.is_alive:
        return "late"
    return "stopping" if worker.stop_requested_at else "alive"


def workers(printer: Printer, options: dict[str, Any]) -> int:
    rows = _workers()
    data = [
        {
            "id": str(worker.pk),
            "state": _state(worker),
            "name": worker.name,
            "host": worker.hostname,
            "pid": worker.pid,
            "backend": worker.backend,
            "queues": worker.queues,
            "processes": worker.processes,
            "running_jobs": worker.running_jobs,
            "memory": worker.memory,
            "heartbeat_at": worker.heartbeat_at,
            "started_at": worker.started_at,
            "version": worker.version,
        }
        for worker in rows
    ]
    titles = ("STATE", "NAME", "HOST", "PID", "BACKEND", "QUEUES", "JOBS", "HEARTBEAT", "ID")
    names = ("state", "name", "host", "pid", "backend", "queues", "running_jobs", "heartbeat_at", "id")
    printer.table(titles, [[row[name] for name in names] for row in data], data)
    if not printer.as_json:
        for warning in _namesakes(rows):
            printer.write(f"\n{warning}")
    return 0


def _namesakes(workers: list[Any]) -> Iterator[str]:
    """Yield a sentence for each name that several workers have that are alive."""
    ids = defaultdict(list)
    for worker in workers:
        if _state(worker) in ("alive", "stopping"):
            ids[worker.name].append(str(worker.pk))
    for name, found in sorted(ids.items()):
        if len(found) > 1:
            yield (
                f"{len(found)} workers that are alive have the name {name!r}: {', '.join(sorted(found))}. "
                "Give each another --worker-name"
            )


def health(printer: Printer, options: dict[str, Any]) -> int:
    """Return 0 if all is well, 1 if not, and 2 if the database cannot be used."""
    if options["heartbeat_file"]:
        _check_flags(options)
        is_well, why, content = read(options["heartbeat_file"])
        printer.line(f"{'well' if is_well else 'ill'}: {why}", {"well": is_well, "why": [why], **content})
        return 0 if is_well else 1
    try:
        alive = _alive(options)
        problems = list(_problems(options, alive))
    except CommandError as error:
        # As for flags that argparse refuses: status 1 would say that the workers are ill.
        raise CommandError(str(error), returncode=2) from error
    except Error as error:
        reason = str(error).strip().partition("\n")[0]
        printer.line(f"unknown: {reason}", {"well": None, "why": [reason]})
        return 2
    warnings = list(_namesakes(alive))
    why = "; ".join([*(problems or ["workers are alive"]), *warnings])
    data = {"well": not problems, "why": problems, "warnings": warnings}
    printer.line(f"{'ill' if problems else 'well'}: {why}", data)
    return 1 if problems else 0


def _check_flags(options: dict[str, Any]) -> None:
    """Raise CommandError for a flag that is about the database, which ``--heartbeat-file`` leaves alone."""
    for name in ("queue", "backend", "max_age"):
        if options[name] is not None:
            flag = f"--{name.replace('_', '-')}"
            raise CommandError(
                f"--heartbeat-file reads that file and no database, by which {flag} cannot be checked: "
                "give one of the two.",
                returncode=2,
            )


def _alive(options: dict[str, Any]) -> list[Any]:
    """Return the workers that are alive. Raise CommandError for an unknown backend or queue."""
    backends, queue = chosen(options["backend"]), options["queue"]
    workers = [worker for worker in _workers() if options["backend"] in (None, worker.backend)]
    # A worker may serve a queue by its name before there are jobs.
    if queue is not None and not any(queue in (names_in(worker.queues) or ()) for worker in workers):
        check_queue(queue, backends, force=options["force"])
    return [worker for worker in workers if _state(worker) in ("alive", "stopping")]


def _problems(options: dict[str, Any], alive: list[Any]) -> Iterator[str]:
    backend, queue = options["backend"], options["queue"]
    if not alive:
        yield "no worker is alive"
    elif queue is not None and not any(_serves(worker, queue) for worker in alive):
        yield f"no worker serves the queue {queue!r}"
    if options["max_age"] is not None:
        jobs = filtered({"status": "ready", "queue": queue, "backend": backend})
        # The next ones in the order of a claim: what waits longest for its turn is among them.
        rows = jobs.in_claim_order("backend").annotate(now=DatabaseNow())
        ages = [
            (now - max(filter(None, (enqueued, run_after)))).total_seconds()
            for enqueued, run_after, now in rows.values_list("enqueued_at", "run_after", "now")[:1000]
        ]
        if ages and max(ages) > options["max_age"]:
            yield f"a job has been ready for {max(ages):.0f} seconds"


def _serves(worker: Worker, queue: str) -> bool:
    served, left_out = names_in(worker.queues) or (), names_in(worker.exclude_queues) or ()
    return claimable.serves(queue, served, left_out)


REPORTS = {
    "list": list_tasks,
    "show": show,
    "jobs": jobs,
    "stats": stats,
    "workers": workers,
    "health": health,
}
