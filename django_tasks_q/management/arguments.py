"""The flags of ``runworker``, and types of flags for all commands."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError

from .. import compat
from ..worker.config import WorkerConfig


def add_choice(parser: ArgumentParser) -> None:
    """Add the flags that say which jobs a worker runs."""
    add = parser.add_argument
    add(
        "--backend",
        type=filled,
        default=compat.DEFAULT_TASK_BACKEND_ALIAS,
        metavar="ALIAS",
        help="Alias in TASKS of the backend whose jobs are run (default: %(default)s).",
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
        help="Run only jobs of this queue. May be repeated.",
    )
    add(
        "--exclude-queue",
        type=filled,
        action="append",
        default=[],
        metavar="NAME",
        dest="exclude_queues",
        help="Run no jobs of this queue. May be repeated.",
    )


def add_concurrency(parser: ArgumentParser) -> None:
    """Add the flags for the numbers of jobs that run at the same time."""
    add = parser.add_argument
    add(
        "--processes",
        type=_positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="Number of jobs that run at the same time, each in a child process (default: %(default)s).",
    )
    add(
        "--threads",
        type=_positive,
        default=WorkerConfig.threads,
        metavar="N",
        help="Number of jobs with executor='thread' that run at the same time (default: %(default)s).",
    )
    add(
        "--async-concurrency",
        type=_positive,
        default=WorkerConfig.async_concurrency,
        metavar="N",
        help="Number of coroutines that run at the same time (default: %(default)s).",
    )


def add_capacity(parser: ArgumentParser) -> None:
    """Add the flags for the numbers of jobs, and for the replacement of child processes."""
    add_concurrency(parser)
    add = parser.add_argument
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
        help="Replace a child that uses more memory than this, in megabytes, when a job has ended.",
    )
    add(
        "--max-age-per-child",
        type=_seconds,
        metavar="SECONDS",
        help="Replace a child that is older than this, when a job has ended.",
    )


def add_ends(parser: ArgumentParser) -> None:
    """Add the flags for the end of a worker, its name and its heartbeat file."""
    add = parser.add_argument
    add("--batch", action="store_true", help="Stop when there are no more jobs to run.")
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
        help="Time for running jobs to finish after SIGTERM or Ctrl-C. A second signal ends it "
        "(default: %(default)g).",
    )
    add(
        "--heartbeat-file",
        type=filled,
        metavar="PATH",
        help="Write this file with each heartbeat, for `manage.py tasks health --heartbeat-file PATH`.",
    )
    add(
        "--stop-at-end-of-input",
        action="store_true",
        help="Stop when standard input ends, as it does with the program that started this one.",
    )
    add("--reload", action="store_true", help="Restart when code changes. For development only.")


def filled(text: str) -> str:
    """Return a value that is not empty. An empty one, as of an unset variable, would mean everything."""
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
