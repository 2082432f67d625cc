"""The verb of ``manage.py tasks`` that starts a development server and a worker in one terminal."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management import call_command

from .arguments import add_choice, add_concurrency
from .output import Printer
from .reloading import command_line, is_reloaded, keep_running, report_loaded, worker_beside

#: The flags of the worker, by the names of their values.
FLAGS = {
    "backend": "--backend",
    "database": "--database",
    "queues": "--queue",
    "exclude_queues": "--exclude-queue",
    "processes": "--processes",
    "threads": "--threads",
    "async_concurrency": "--async-concurrency",
}


def add_dev(commands: Any) -> Iterator[ArgumentParser]:
    parser = commands.add_parser(
        "dev", help="start the development server and a worker, again when code changes"
    )
    parser.add_argument("addrport", nargs="?", help="port, or address and port, as of runserver")
    parser.add_argument(
        "--noreload", action="store_false", dest="use_reloader", help="do not restart when code changes"
    )
    add_choice(parser)
    add_concurrency(parser)
    yield parser


def dev(printer: Printer, options: dict[str, Any]) -> int:
    """Serve until Ctrl-C. The worker is stopped and waited for then."""
    if options["use_reloader"] and not is_reloaded():
        return keep_running(_write)
    report_loaded()
    server = [options["addrport"]] if options["addrport"] else []
    flags = [f"{flag}={value}" for name, flag in FLAGS.items() for value in _values(options[name])]
    with worker_beside(command_line("tasksworker", *flags), _write, {}):
        call_command("runserver", *server, use_reloader=options["use_reloader"])
    return 0


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _write(line: str) -> None:
    sys.stderr.write(f"{line}\n")


DEV = {"dev": dev}
