from __future__ import annotations

import errno
import os
import pkgutil
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, ProgrammingError, connections
from django.dispatch import Signal
from django.utils import autoreload

from ... import migrations
from ...backends import DatabaseBackend
from ...definition.registry import registry
from ...models import Job
from ...signals import worker_started, worker_stopped
from ...storage import storage_for
from ...validation import one_line, suggestion
from ...worker.config import WorkerConfig
from ...worker.database_timeout import DatabaseTimeout
from ...worker.heartbeat_file import HeartbeatFile
from ...worker.identity import MAX_NAME, default_name
from ...worker.own_process import AGAIN, open_connections, run_in_own_process
from ...worker.recycling import Recycling
from ...worker.signal_handlers import borrowed_signals
from ...worker.streams import discard_unwritable, open_standard_descriptors
from ...worker.subscribers.console import Console
from ...worker.supervisor import PoolBroken, Supervisor
from ..arguments import add_capacity, add_choice, add_ends
from ..backends import stored
from ..job_filters import declared_queues, refuse_several
from ..output import counted, on_terminal
from ..reloading import command_line, is_reloaded, keep_running, report_loaded, worker_beside

#: Errors of the system when a resource is used up: descriptors, memory, processes, disk space.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC)
TOO_FEW_RESOURCES = "The system has too few resources for this worker"
#: The variable in the environment of the worker that marks it as started by a reloader.
RELOADED = "DJANGO_TASKS_Q_RELOADED"


class Command(BaseCommand):
    help = "Run jobs until it is stopped."
    #: An event at which the worker stops, for programs that call the command.
    stealth_options = ("stop",)
    # Not all checks: that of URLs would import every view.
    requires_system_checks = ("tasks",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_choice(parser)
        add_capacity(parser)
        add_ends(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not hasattr(os, "fork") or not hasattr(os, "waitid"):
            raise CommandError("runworker needs an operating system with fork() and waitid(), such as Linux.")
        if options["reload"] and RELOADED not in os.environ:
            self._run_reloaded(options)
            return
        is_program = getattr(self, "_called_from_command_line", False)
        is_alone = is_program and threading.current_thread() is threading.main_thread()
        _check_caller(is_alone=is_alone)
        backend = stored(options["backend"])
        config = self._config(options, backend)
        if storage_for(config.database).session.is_private:
            raise CommandError(
                f"Database {config.database!r} is in the memory of this process, and the worker's processes "
                "would not see its jobs. Use a file or a server, or django_tasks_q.testing.run_jobs()."
            )
        console = Console(lambda text: self.stdout.write(on_terminal(text)), options["verbosity"])
        if is_alone:
            try:
                with borrowed_signals(is_last=True):
                    self._work(config, backend, console)
            finally:
                discard_unwritable()
        else:
            self._work_apart(config, backend, console, options["verbosity"], options.get("stop"))

    def _run_reloaded(self, options: dict[str, Any]) -> None:
        """Run the worker in a separate process: the main thread of this one belongs to the reloader."""
        if options["stop_at_end_of_input"]:
            raise CommandError("--reload and --stop-at-end-of-input cannot be combined: leave one out.")
        if not is_reloaded():
            sys.exit(keep_running(self.stderr.write))
        report_loaded()
        with worker_beside(command_line(*sys.argv[1:]), self.stderr.write, {RELOADED: "1"}) as worker:
            autoreload.run_with_reloader(worker.wait)

    def _work_apart(
        self,
        config: WorkerConfig,
        backend: DatabaseBackend,
        console: Console,
        verbosity: int,
        stop: threading.Event | None,
    ) -> None:
        """Work in another process, since this one belongs to the program that has called the command."""

        def work(descriptor: int, write: Callable[[str], None]) -> str | None:
            try:
                with suppress(Error):  # the worker itself reports what is wrong
                    if not storage_for(config.database).session.is_usable_in_copy():
                        return AGAIN
                self._work(replace(config, stop_descriptor=descriptor), backend, Console(write, verbosity))
            except CommandError as error:
                return str(error)
            return None

        problem = run_in_own_process(work, lambda text: console.line(text, verbosity=0), stop)
        if problem is not None:
            raise CommandError(problem)

    def _work(self, config: WorkerConfig, backend: DatabaseBackend, console: Console) -> None:
        open_standard_descriptors()
        console.line(f"{_banner(config)} Stop with Ctrl-C.")
        self._supervise(config, backend, console)
        console.line(f"Stopped: {console.summary()}.")

    def _supervise(self, config: WorkerConfig, backend: DatabaseBackend, console: Console) -> None:
        announce = partial(_announce, backend=backend, name=config.name)
        try:
            with DatabaseTimeout() as timeout:
                storage_for(config.database).session.share_connect_timeout(timeout.seconds)
                _check_tables(config.database)
            announce(worker_started)
            try:
                Supervisor(config, backend, console).run()
            finally:
                announce(worker_stopped)
        except (PoolBroken, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except Error as error:
            raise CommandError(_explained(error, config.database)) from error
        except MemoryError as error:
            raise CommandError(f"{TOO_FEW_RESOURCES}: no memory is left.") from error
        except OSError as error:
            if error.errno not in SCARCE:
                raise
            raise CommandError(f"{TOO_FEW_RESOURCES}: {error}") from error

    def _config(self, options: dict[str, Any], backend: DatabaseBackend) -> WorkerConfig:
        database = options["database"] or backend.database
        if database not in connections:
            raise CommandError(f"DATABASES has no alias {database!r}.{suggestion(database, connections)}")
        for queue in options["queues"] + options["exclude_queues"]:
            refuse_several(queue, declared_queues(backend))
            if backend.queues and queue not in backend.queues:
                raise CommandError(
                    f"Queue {queue!r} is not in TASKS[{backend.alias!r}]['QUEUES']."
                    f"{suggestion(queue, backend.queues)}"
                )
        if options["queues"] and set(options["queues"]) <= set(options["exclude_queues"]):
            names = ", ".join(map(repr, sorted(set(options["queues"]))))
            raise CommandError(
                f"A worker that excludes all the queues it is to serve can run no jobs: name {names} with "
                "--queue or with --exclude-queue, not with both."
            )
        _check_heartbeat_file(options["heartbeat_file"])
        return WorkerConfig(
            backend=backend.alias,
            database=database,
            name=_name(options["worker_name"]),
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
            heartbeat_file=options["heartbeat_file"],
            stop_descriptor=0 if options["stop_at_end_of_input"] else None,
        )


def _announce(signal: Signal, backend: DatabaseBackend, name: str) -> None:
    """Send a signal of this process, in which the worker's own code does not run at that time."""
    signal.send_robust(type(backend), name=name, backend=backend.alias)


def _check_caller(*, is_alone: bool) -> None:
    """Raise CommandError if the command is called within a transaction, or by a thread of a TestCase."""
    own = connections.all(initialized_only=True)
    others = [] if is_alone else open_connections()
    if any(each.in_atomic_block for each in own) or any(map(_is_in_test_case, others)):
        raise CommandError(
            "runworker cannot be called within a transaction, as in a TestCase: its processes would not "
            "see its jobs. Use django_tasks_q.testing.run_jobs() or a TransactionTestCase."
        )


def _is_in_test_case(connection: Any) -> bool:
    """Return whether a connection, perhaps of another thread, is in the transaction of a TestCase."""
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _name(given: str | None) -> str:
    if given is None:
        return default_name()
    try:
        return one_line(given, "--worker-name", maximum=MAX_NAME)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _check_heartbeat_file(path: str | None) -> None:
    """Raise CommandError if the file cannot be written."""
    try:
        HeartbeatFile(path).check()
    except OSError as error:
        raise CommandError(f"The heartbeat file {path!r} cannot be written: {error.strerror}.") from error


def _check_tables(database: str) -> None:
    """Raise CommandError if migrations are missing. Tables of a later release are accepted."""
    path = settings.MIGRATION_MODULES.get("django_tasks_q", migrations.__name__)
    if path is None:
        return
    known = {name for _, name, _ in pkgutil.iter_modules(import_module(path).__path__)}
    try:
        missing = sorted(known - storage_for(database).session.migrations())
        if missing == sorted(known):
            # The table of migrations may only be invisible to this user.
            Job.objects.using(database).exists()
    except Error as error:
        raise CommandError(_explained(error, database)) from error
    if missing:
        raise CommandError(
            f"The job tables in database {database!r} are not those of this release, or missing; run "
            f"manage.py migrate. (Not applied: {', '.join(missing)}.)"
        )


def _explained(error: Exception, database: str) -> str:
    reason = str(error).strip().partition("\n")[0]
    session = storage_for(database).session
    if session.is_forbidden(error):
        return _lacks(database, f"({reason})")
    if isinstance(error, ProgrammingError) or "no such table" in reason or "doesn't exist" in reason:
        with suppress(Error):
            if privilege := session.missing_privilege():
                return _lacks(database, f"{privilege}.")
        return f"The job tables are missing in database {database!r}; run manage.py migrate. ({reason})"
    return f"Database {database!r} cannot be used: {reason}"


def _lacks(database: str, what: str) -> str:
    return (
        f"The user of database {database!r} lacks a privilege that a worker needs: {what} "
        "Grant it; the page on deploying has a list under 'Database privileges'."
    )


def _banner(config: WorkerConfig) -> str:
    queues = ", ".join(config.queues) or "all"
    if config.exclude_queues:
        queues += f" except {', '.join(config.exclude_queues)}"
    return (
        f"Worker {config.name}: {counted(len(registry), 'task')}, queues {queues}, "
        f"{counted(config.processes, 'process', 'processes')}, "
        f"backend {config.backend!r}, database {config.database!r}."
    )
