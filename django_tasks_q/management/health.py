"""``manage.py tasks health``: whether jobs are being run, as an exit status for probes."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db import Error

from ..models import Worker
from ..models.worker import names_in
from ..storage import claimable
from ..storage.orm.clock import DatabaseNow
from ..worker.heartbeat_file import read
from .arguments import filled
from .backends import chosen
from .job_filters import check_queue, filtered
from .output import Printer
from .workers import latest_workers, namesakes, state_of


def add_health(commands: Any) -> ArgumentParser:
    health: ArgumentParser = commands.add_parser(
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
    return health


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
    warnings = list(namesakes(alive))
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
    workers = [worker for worker in latest_workers() if options["backend"] in (None, worker.backend)]
    # A worker may serve a queue by its name before there are jobs.
    if queue is not None and not any(queue in (names_in(worker.queues) or ()) for worker in workers):
        check_queue(queue, backends, force=options["force"])
    return [worker for worker in workers if state_of(worker) in ("alive", "stopping")]


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
