"""The command line of the demo."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..forks import discard_output
from .database import URL_VARIABLE, configuration
from .errors import DemoError


class Interrupted(KeyboardInterrupt):
    """A signal interrupted the demo."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


def main(arguments: list[str]) -> int:
    """Run the demo and return the exit status: 0 if every job ended as expected, otherwise not."""
    options = parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    _listen_for_signals()
    try:
        return _run(options)
    except DemoError as error:
        _print_error(f"demo: {error}")
        return 1
    except Interrupted as interrupted:
        _print_error("Interrupted: nothing was left running.")
        return interrupted.exit_status
    except BrokenPipeError:
        discard_output(sys.stdout)  # its reader has exited
        return 1


def parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(
        prog="python -m django_tasks_q demo",
        description="Run about nine hundred jobs, some of which fail on purpose, and show how they end.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--database-url",
        type=_database_url,
        metavar="URL",
        help="database to use, such as postgresql://user:password@host:5432/name "
        "(default: an SQLite file that is removed at the end)",
    )
    parser.add_argument(
        "--processes",
        type=_whole(1, 1000),
        default=2,
        metavar="N",
        help="number of jobs that run at the same time (default: 2)",
    )
    parser.add_argument(
        "--serve",
        type=_whole(0, 65535),
        nargs="?",
        const=8000,
        metavar="PORT",
        help="serve the admin afterwards, until Ctrl-C (default port: 8000)",
    )
    return parser


def _run(options: Namespace) -> int:
    if not hasattr(os, "fork"):
        raise DemoError("the worker needs an operating system with fork(), such as Linux or macOS.")
    with tempfile.TemporaryDirectory(prefix="django-tasks-q-demo-") as folder:
        os.environ["DJANGO_SETTINGS_MODULE"] = "django_tasks_q.demo.settings"
        os.environ[URL_VARIABLE] = options.database_url or f"sqlite:///{folder}/demo.sqlite3"
        # Imported late, since the import of Django takes long enough to press Ctrl-C.
        from .project import run

        return run(options, Path(folder))


def _listen_for_signals() -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(number: int, _: object) -> None:
        # A second signal would interrupt the clean-up, which takes a few seconds at most.
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for number in handled:
        signal.signal(number, interrupt)


def _print_error(line: str) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.write(f"{line}\n")


def _database_url(text: str) -> str:
    try:
        configuration(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _whole(minimum: int, maximum: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if text.isdecimal() and minimum <= int(text) <= maximum:
            return int(text)
        raise ArgumentTypeError(f"{text!r} is not a whole number from {minimum} to {maximum}")

    return number
