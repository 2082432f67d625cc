"""One run of the demo."""

from __future__ import annotations

import secrets
import time
from argparse import Namespace
from contextlib import closing, suppress
from pathlib import Path

import django
from django.core.management import CommandError, call_command
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.exceptions import InconsistentMigrationHistory

from .. import __version__
from ..validation import plain
from . import jobs, progress, report, serve, worker
from .errors import DemoError
from .report import print_line

#: How many seconds all jobs together may take, and seconds between two queries.
TIMEOUT, PAUSE = 120.0, 0.1


def run(options: Namespace, folder: Path) -> int:
    """Run all steps of the demo and return the exit status. Raise DemoError."""
    queue = f"demo-{secrets.token_hex(4)}"
    with closing(connection), serve.reserved(options.serve) as server:
        _prepare_database(everything=server is not None)
        try:
            problems = _work(queue, options.processes, folder / "worker.log")
            report.print_verdict(problems)
            if server is not None:
                serve.until_interrupted(server)
            elif options.database_url:
                print_line(f"The jobs stay in the database, in queue {queue!r} of backend {jobs.BACKEND!r}.")
        finally:
            with suppress(DatabaseError, InterfaceError):
                _discard_unfinished(queue)
    return 1 if problems else 0


def _discard_unfinished(queue: str) -> None:
    """Delete the jobs that have not ended: in a database that is kept, no worker would ever run them."""
    # A signal may have interrupted a query, after which the connection cannot be used.
    connection.close()
    jobs.jobs_in(queue).unfinished().delete()


def _prepare_database(*, everything: bool) -> None:
    """Connect and create the tables. With ``everything``, also those of Django's apps, for the admin."""
    connection.ensure_connection()
    version = ".".join(map(str, connection.get_database_version()))
    print_line(
        f"django-tasks-q {__version__}, Django {django.get_version()}, {connection.display_name} {version}\n"
    )
    try:
        call_command("migrate", *([] if everything else ["django_tasks_q"]), verbosity=0, interactive=False)
    except (CommandError, InconsistentMigrationHistory) as error:
        raise DemoError.of("the tables cannot be created", error) from error


def _work(queue: str, processes: int, log: Path) -> list[str]:
    """Enqueue the jobs, run them and print the results. Return what did not go as expected."""
    began = time.monotonic()
    total = jobs.enqueue_jobs(queue)
    print_line(
        f"{total} jobs enqueued in {time.monotonic() - began:.2f} s: one to parse each module of Django, "
        f"and {len(jobs.SPECIALS)} special ones.\nStarting runworker --processes {processes}."
    )
    with worker.started(queue, processes, log) as running:
        problems = _wait(queue, total, running) or running.stop()
    rows = list(jobs.jobs_in(queue).order_by("id"))
    report.print_results(rows)
    report.print_specials(rows)
    if problems:
        print_line(f"\nThe end of the worker's output:\n{running.log_tail()}")
    return problems + jobs.problems(rows)


def _wait(queue: str, total: int, running: worker.Worker) -> list[str]:
    """Show progress until all jobs have ended. Return why that did not happen, if so."""
    deadline = time.monotonic() + TIMEOUT
    with progress.shown(total) as show:
        while True:
            has_ended = running.has_ended
            now = progress.Progress.of(jobs.jobs_in(queue), total)
            show(now)
            if now.is_complete:
                return []
            if has_ended:
                return [f"The worker ended by itself, with status {running.process.returncode}."]
            if time.monotonic() > deadline:
                return [
                    f"{total - now.finished} of {total} jobs had not ended after {plain(TIMEOUT)} seconds."
                ]
            time.sleep(PAUSE)
