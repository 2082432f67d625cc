"""The flags of ``runworker``, and what the flags of all commands have in common."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError

from .. import compat
from ..worker.config import WorkerConfig


def add_choice(parser: ArgumentParser) -> None:
    """Which jobs a worker runs."""
    add = parser.add_argument
    add(
        "--backend",
        type=filled,
        default=compat.DEFAULT_TASK_BACKEND_ALIAS,
        metavar="ALIAS",
        help="Alias in TASKS whose jobs are run (default: %(default)s).",
    )
    add(
        "--database",
        type=filled,
        metavar="ALIAS",
        help="Database that holds the jobs, instead of the backend's own.",
    )
    add(
        "--queue",
        type=filled,
        action="append",
        default=[],
        metavar="NAME",
        dest="queues",
        help="Run only this queue's jobs; repeat for several.",
    )
    add(
        "--exclude-queue",
        type=filled,
        action="append",
        default=[],
        metavar="NAME",
        dest="exclude_queues",
        help="Leave this queue's jobs to other workers; may be repeated.",
    )


def add_capacity(parser: ArgumentParser) -> None:
    """How many it runs at a time, and in how many children one after the other."""
    add = parser.add_argument
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


def add_ends(parser: ArgumentParser) -> None:
    """When it stops, and what it is called until then."""
    add = parser.add_argument
    add("--batch", action="store_true", help="Stop when nothing is left to do.")
    add("--max-jobs", type=_positive, metavar="N", help="Stop after this many jobs.")
    add(
        "--worker-name",
        type=filled,
        metavar="NAME",
        help="Name of this worker (default: host and process id).",
    )
    add(
        "--shutdown-timeout",
        type=_seconds,
        default=25.0,
        metavar="SECONDS",
        help="Time for running jobs to finish after SIGTERM or Ctrl-C; a second signal ends it "
        "(default: %(default)g).",
    )
    add(
        "--heartbeat-file",
        type=filled,
        metavar="PATH",
        help="Write this file with each heartbeat, for `manage.py tasks health --heartbeat-file PATH`.",
    )
    add("--reload", action="store_true", help="Restart when code changes. For development only.")


def filled(text: str) -> str:
    """A value that is not empty, as that of a variable which is not set: it would stand for everything."""
    if not text.strip():
        raise ArgumentTypeError("must not be empty: leave the flag out, or give it a value")
    return text


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
