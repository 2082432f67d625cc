"""The filters by which a command selects jobs."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime, parse_duration

from .. import compat
from ..access import database
from ..actions.matching import REACH
from ..actions.selection import Selection, first_id
from ..backends import DatabaseBackend
from ..definition.registry import registry
from ..lifecycle.states import JobStatus
from ..models import Job, Queue
from ..models.job import JobQuerySet
from ..storage.timestamps import native
from ..validation import suggestion
from .arguments import filled
from .backends import chosen

#: The most rows of queues that are read to check a name.
MOST_QUEUES = 10_000

FILTERS = ("status", "task", "queue", "backend", "tag", "since")


def add_filters(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--status", type=str.lower, choices=[status.lower() for status in JobStatus.values])
    add("--task", type=filled, metavar="NAME", help="jobs of this task")
    add("--queue", type=filled, metavar="NAME", help="jobs of this queue")
    add("--backend", type=filled, metavar="ALIAS", help="jobs of this backend")
    add(
        "--tag",
        type=filled,
        metavar="TAG",
        help="jobs with this tag; reads all jobs that the other filters leave",
    )
    add(
        "--since",
        type=filled,
        metavar="TIME",
        help="jobs enqueued since then: 2026-01-31T08:00, or 2h, 30m, 7d ago",
    )


def filtered(options: dict[str, Any]) -> JobQuerySet:
    """Return the jobs that the filters find. Raise CommandError."""
    return selected(options).of(Job.objects.using(database()))


def selected(options: dict[str, Any], states: Collection[str] = ()) -> Selection:
    """Return the selection of the filters, in ``states`` unless they name a status. Raise CommandError."""
    status, since = options.get("status"), options.get("since")
    if options.get("queue"):
        refuse_several(options["queue"], set().union(*map(known_queues, chosen(None))))
    for name, column in (("task", "task_name"), ("queue", "queue_name"), ("backend", "backend")):
        if value := options.get(name):
            _check_name(name, column, value)
    texts: dict[str, Any] = {name: options.get(name) or "" for name in ("task", "queue", "backend", "tag")}
    try:
        return Selection(
            status=status.upper() if status else "",
            # Ids begin with the time, and have an index, which times have not.
            first=first_id(when(since, past=True)) if since else None,
            **texts,
        ).limited_to(states)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _check_name(filter_: str, column: str, value: str) -> None:
    """Raise CommandError for the name of a task, queue or backend that neither code nor a job has."""
    match filter_:
        case "task":
            known, where = set(registry.names()), "in the code"
        case "queue":
            known, where = set().union(*map(known_queues, chosen(None))), "in the code or the settings"
        case _:
            known, where = set(compat.task_backends.settings), "in TASKS"
    if value in known:
        return
    # No index leads to the jobs of any state with a name.
    recent = Job.objects.using(database()).order_by("-id").values_list(column, flat=True)[:REACH]
    if value not in set(recent):
        raise CommandError(
            f"There is no {filter_} {value!r:.140} {where}, and none of the latest {REACH:,} jobs "
            f"names it.{suggestion(value, known)}"
        )


def refuse_several(queue: str, known: Collection[str]) -> None:
    """Raise CommandError for a list of names with commas, unless it is the name of a known queue."""
    if "," in queue and queue not in known:
        raise CommandError(f"There is no queue {queue!r}: name one queue, not several with commas between.")


def check_queue(queue: str, backends: Collection[DatabaseBackend], *, force: bool) -> None:
    """Raise CommandError for a queue that nothing in these backends knows, unless ``force`` is true."""
    if force:
        return
    known = set().union(*map(known_queues, backends))
    if queue in known or any(has_jobs(queue, backend) for backend in backends):
        return
    refuse_several(queue, known)
    of = "backend" if len(backends) == 1 else "backends"
    aliases = ", ".join(repr(backend.alias) for backend in backends)
    raise CommandError(
        f"No task, job or setting of {of} {aliases} knows a queue {queue!r:.140}.{suggestion(queue, known)} "
        "Repeat the command with --force to go on all the same."
    )


def declared_queues(backend: DatabaseBackend) -> set[str]:
    """Return the queues that the settings of a backend or its tasks name."""
    routes = [route.options for route in backend.settings.routes]
    names = {str(options["queue_name"]) for options in routes if "queue_name" in options}
    return names | backend.queues | {task.queue_name for task in registry if task.backend == backend.alias}


def known_queues(backend: DatabaseBackend) -> set[str]:
    """Return the declared queues, and those that people have paused or limited."""
    rows = Queue._default_manager.using(backend.database).filter(backend=backend.alias)
    return declared_queues(backend).union(rows.values_list("name", flat=True)[:MOST_QUEUES])


def has_jobs(queue: str, backend: DatabaseBackend) -> bool:
    """Return whether a job of the queue is stored, in any state."""
    return Job.objects.using(backend.database).filter(backend=backend.alias, queue_name=queue).exists()


def is_filtered(options: dict[str, Any]) -> bool:
    return any(options.get(name) for name in FILTERS)


def uuid(text: str) -> UUID:
    """Return the id. Raise CommandError."""
    try:
        return UUID(text)
    except ValueError:
        raise CommandError(f"{text!r:.60} is not an id.") from None


def when(text: str, *, past: bool = False) -> Any:
    """Return the time for an ISO 8601 time, or for a duration from now. Raise CommandError."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    try:
        if text[-1:] in units and text[:-1].replace(".", "", 1).isdigit():
            length: timedelta | None = timedelta(**{units[text[-1]]: float(text[:-1])})
        else:
            length = None if "T" in text or text.count("-") > 1 else parse_duration(text)
        if length is not None:
            return timezone.now() - length if past else timezone.now() + length
        moment = parse_datetime(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise CommandError(f"{text!r:.60} is not a time: write 2026-01-31T08:00, or 30m, 2h, 7d.")
    return native(moment)
