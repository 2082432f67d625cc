"""One run of the demo, from an empty queue to the verdict."""

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
from . import jobs, progress, report, serve, worker
from .report import say
from .trouble import Trouble

#: Seconds that all jobs together may take, and seconds between two looks at them.
PATIENCE, PAUSE = 120.0, 0.1


def run(options: Namespace, folder: Path) -> int:
    """Everything that the demo does. Answers the exit status. Raises Trouble."""
    queue = f"demo-{secrets.token_hex(4)}"
    with closing(connection), serve.reserved(options.serve) as server:
        _prepare_database(everything=server is not None)
        try:
            problems = _work(queue, options.processes, folder / "worker.log")
            report.verdict(problems)
            if server is not None:
                serve.until_interrupted(server)
            elif options.database_url:
                say(f"The jobs stay in the database, in queue {queue!r} of backend {jobs.BACKEND!r}.")
        finally:
            with suppress(DatabaseError, InterfaceError):
                _discard_unfinished(queue)
    return 1 if problems else 0


def _discard_unfinished(queue: str) -> None:
    """In a database that stays, nobody else would ever run them."""
    # A signal may have cut off a query, after which the connection is of no use.
    connection.close()
    jobs.sent(queue).unfinished().delete()


def _prepare_database(*, everything: bool) -> None:
    """Connect, and make the tables: those of Django's own apps only where the admin needs them."""
    connection.ensure_connection()
    version = ".".join(map(str, connection.get_database_version()))
    say(f"django-tasks-q {__version__}, Django {django.get_version()}, {connection.display_name} {version}\n")
    try:
        call_command("migrate", *([] if everything else ["django_tasks_q"]), verbosity=0, interactive=False)
    except (CommandError, InconsistentMigrationHistory) as error:
        raise Trouble.of("the tables cannot be made", error) from error


def _work(queue: str, processes: int, log: Path) -> list[str]:
    """Send the jobs, have them run, and tell of it. Answers what did not go as it should."""
    begun = time.monotonic()
    total = jobs.send(queue)
    say(
        f"{total} jobs sent in {time.monotonic() - begun:.2f} s: one to parse each module of Django, and "
        f"{len(jobs.SPECIALS)} that are not so simple.\nStarting runworker --processes {processes}."
    )
    with worker.started(queue, processes, log) as running:
        problems = _wait(queue, total, running) or running.stop()
    rows = list(jobs.sent(queue).order_by("id"))
    report.results(rows)
    report.specials(rows)
    if problems:
        say(f"\nThe last that the worker wrote:\n{running.last_words()}")
    return problems + jobs.problems(rows)


def _wait(queue: str, total: int, running: worker.Worker) -> list[str]:
    """Show how the jobs get on until all have ended. Answers why that did not happen."""
    deadline = time.monotonic() + PATIENCE
    with progress.shown(total) as show:
        while True:
            has_ended = running.has_ended
            now = progress.Progress.of(jobs.sent(queue), total)
            show(now)
            if now.is_complete:
                return []
            if has_ended:
                return [f"The worker ended by itself, with status {running.process.returncode}."]
            if time.monotonic() > deadline:
                return [f"{total - now.finished} of {total} jobs had not ended after {PATIENCE:g} seconds."]
            time.sleep(PAUSE)
