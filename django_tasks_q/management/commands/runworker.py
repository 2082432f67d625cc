from __future__ import annotations

import atexit
import os
import socket
import subprocess
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, ProgrammingError, connections
from django.utils import autoreload

from ... import _framework as framework
from ...backends import DatabaseBackend
from ...registry import registry
from ...validation import suggestion
from ...worker.config import WorkerConfig
from ...worker.parent import Parent, PoolBroken
from ...worker.recycling import Recycling
from ...worker.report import Report

#: Set in the environment of the worker that a reloader has started.
RELOADED = "DJANGO_TASKS_Q_RELOADED"


class Command(BaseCommand):
    help = "Run the jobs that tasks were enqueued as."
    # Not all: checking URLs would import every view into a process that serves none.
    requires_system_checks = ("tasks",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add(
            "--backend",
            default=framework.DEFAULT_TASK_BACKEND_ALIAS,
            metavar="ALIAS",
            help="Alias in TASKS whose jobs are run (default: %(default)s).",
        )
        add(
            "--database",
            metavar="ALIAS",
            help="Database that holds the jobs, instead of the backend's own.",
        )
        add(
            "--queue",
            action="append",
            default=[],
            metavar="NAME",
            dest="queues",
            help="Run only this queue's jobs; repeat for several.",
        )
        add(
            "--exclude-queue",
            action="append",
            default=[],
            metavar="NAME",
            dest="exclude_queues",
            help="Leave this queue's jobs to other workers; may be repeated.",
        )
        add(
            "--processes",
            type=_positive,
            default=os.cpu_count() or 1,
            metavar="N",
            help="Jobs run at the same time in a child process each (default: %(default)s).",
        )
        add(
            "--threads",
            type=_positive,
            default=WorkerConfig.threads,
            metavar="N",
            help="Jobs run at the same time by tasks with executor='thread' (default: %(default)s).",
        )
        add(
            "--async-concurrency",
            type=_positive,
            default=WorkerConfig.async_concurrency,
            metavar="N",
            help="Coroutines run at the same time (default: %(default)s).",
        )
        add(
            "--max-jobs-per-child",
            type=_positive,
            metavar="N",
            help="Replace a child after this many jobs.",
        )
        add(
            "--max-memory-per-child",
            type=_megabytes,
            metavar="MB",
            help="Replace a child that holds more memory than this, in megabytes, when a job has ended.",
        )
        add(
            "--max-age-per-child",
            type=_seconds,
            metavar="SECONDS",
            help="Replace a child that is older than this, when a job has ended.",
        )
        add("--batch", action="store_true", help="Stop when nothing is left to do.")
        add("--max-jobs", type=_positive, metavar="N", help="Stop after this many jobs.")
        add("--worker-name", metavar="NAME", help="Name of this worker (default: host and process id).")
        add(
            "--shutdown-timeout",
            type=_seconds,
            default=25.0,
            metavar="SECONDS",
            help="Time for running jobs to finish after SIGTERM or Ctrl-C; a second signal ends it "
            "(default: %(default)g).",
        )
        add("--reload", action="store_true", help="Restart when code changes. For development only.")

    def handle(self, *args: Any, **options: Any) -> None:
        if not hasattr(os, "fork") or not hasattr(os, "waitid"):
            raise CommandError("runworker needs an operating system with fork() and waitid(), such as Linux.")
        if options["reload"] and RELOADED not in os.environ:
            autoreload.run_with_reloader(_run_reloaded)
            return
        backend = _backend(options["backend"])
        config = self._config(options, backend)
        report = Report(self.stdout.write, options["verbosity"])
        report.line(f"{_banner(config)} Stop with Ctrl-C.")
        try:
            Parent(config, backend, report).run()
        except PoolBroken as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(_explained(error, config.database)) from error
        report.line(f"Stopped: {report.summary()}.")

    def _config(self, options: dict[str, Any], backend: DatabaseBackend) -> WorkerConfig:
        database = options["database"] or backend.database
        if database not in connections:
            raise CommandError(f"DATABASES has no alias {database!r}.{suggestion(database, connections)}")
        for queue in options["queues"] + options["exclude_queues"]:
            if backend.queues and queue not in backend.queues:
                raise CommandError(
                    f"Queue {queue!r} is not in TASKS[{backend.alias!r}]['QUEUES']."
                    f"{suggestion(queue, backend.queues)}"
                )
        return WorkerConfig(
            backend=backend.alias,
            database=database,
            name=options["worker_name"] or f"{socket.gethostname()}-{os.getpid()}",
            queues=tuple(options["queues"]),
            exclude_queues=tuple(options["exclude_queues"]),
            processes=options["processes"],
            threads=options["threads"],
            async_concurrency=options["async_concurrency"],
            recycling=Recycling(
                jobs=options["max_jobs_per_child"],
                memory=options["max_memory_per_child"],
                age=options["max_age_per_child"],
            ),
            batch=options["batch"],
            max_jobs=options["max_jobs"],
            shutdown_timeout=options["shutdown_timeout"],
        )


def _backend(alias: str) -> DatabaseBackend:
    try:
        backend = framework.task_backends[alias]
        if isinstance(backend, DatabaseBackend):
            backend.settings  # noqa: B018 - raises for unusable OPTIONS
            return backend
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    raise CommandError(
        f"TASKS[{alias!r}] is {type(backend).__module__}.{type(backend).__qualname__}, which stores no jobs "
        "to run. Use django_tasks_q.backends.DatabaseBackend."
    )


def _explained(error: Exception, database: str) -> str:
    reason = str(error).strip().partition("\n")[0]
    if isinstance(error, ProgrammingError) or "no such table" in reason or "doesn't exist" in reason:
        return f"The job tables are missing in database {database!r}; run manage.py migrate. ({reason})"
    return f"Database {database!r} cannot be used: {reason}"


def _banner(config: WorkerConfig) -> str:
    queues = ", ".join(config.queues) or "all"
    if config.exclude_queues:
        queues += f" but {', '.join(config.exclude_queues)}"
    return (
        f"Worker {config.name}: {len(registry)} tasks, queues {queues}, {config.processes} processes, "
        f"backend {config.backend!r}, database {config.database!r}."
    )


def _run_reloaded() -> None:
    # The reloader owns this process's main thread, where signals arrive, so the worker gets its own
    # process. It is told to stop when the reloader leaves to be started anew.
    command = autoreload.get_child_arguments()
    worker = subprocess.Popen(command, env=os.environ | {RELOADED: "1"})  # noqa: S603 - this very command
    # Not by ``finally``: the reloader leaves without waiting for this thread.
    atexit.register(worker.terminate)
    worker.wait()


def _positive(text: str, maximum: int = 10_000) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not 1 <= number <= maximum:
        raise ArgumentTypeError(f"must be between 1 and {maximum}")
    return number


def _megabytes(text: str) -> int:
    return _positive(text, maximum=10_000_000) * 1_000_000


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= seconds <= 86_400:
        raise ArgumentTypeError("must be between 0 and 86400 seconds")
    return seconds
