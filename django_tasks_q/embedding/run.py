"""A worker that a program starts by a call."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from django.core.management import CommandError, call_command

from ..management.commands.runworker import Command


def run_worker(
    *,
    stop: Event | None = None,
    backend: str | None = None,
    database: str | None = None,
    queues: Sequence[str] = (),
    exclude_queues: Sequence[str] = (),
    processes: int | None = None,
    threads: int | None = None,
    async_concurrency: int | None = None,
    batch: bool = False,
    max_jobs: int | None = None,
    worker_name: str | None = None,
    shutdown_timeout: float | None = None,
    verbosity: int = 0,
) -> None:
    """Run jobs until ``stop`` is set, or until there are none left if ``batch`` is true.

    The other arguments are the flags of ``runworker``, which has their defaults. ``shutdown_timeout`` is in
    seconds. Lines for operators are written to standard output at a ``verbosity`` of 1 or 2.

    The worker is a separate process, and has ended when the function returns. Any thread may call it. In
    the main thread, SIGTERM, SIGINT and SIGHUP stop the worker as well. Signal handlers, timers and database
    connections of the caller are not changed. The worker also stops when the calling process ends.

    Raise CommandError for unusable arguments, within a transaction, and if the worker cannot work.
    """
    if stop is not None and not isinstance(stop, Event):
        raise CommandError(f"stop must be a threading.Event, not {stop!r:.100}.")
    values = {
        "backend": backend,
        "database": database,
        "processes": processes,
        "threads": threads,
        "async-concurrency": async_concurrency,
        "max-jobs": max_jobs,
        "worker-name": worker_name,
        "shutdown-timeout": shutdown_timeout,
    }
    # As text, so that the command checks them as it checks its flags.
    for argument, names in {"queues": queues, "exclude_queues": exclude_queues}.items():
        if isinstance(names, str):
            raise CommandError(f"{argument} must be a list of names, not text: use [{names!r}].")
    flags = [f"--{name}={value}" for name, value in values.items() if value is not None]
    flags += [f"--queue={name}" for name in queues]
    flags += [f"--exclude-queue={name}" for name in exclude_queues]
    if batch:
        flags.append("--batch")
    call_command(Command(), *flags, stop=stop, verbosity=verbosity)
