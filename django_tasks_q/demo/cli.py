"""The demo's options, and what its endings mean to the shell."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .database import URL_VARIABLE, configuration
from .trouble import Trouble


class Interrupted(KeyboardInterrupt):
    """A signal asked the demo to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


def main(arguments: list[str]) -> int:
    """Run the demo. Answers the exit status: 0 only if every job ended as it should."""
    options = parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    _listen_for_signals()
    try:
        return _run(options)
    except Trouble as trouble:
        _complain(f"demo: {trouble}")
        return 1
    except Interrupted as interrupted:
        _complain("Interrupted: nothing was left running.")
        return interrupted.exit_status
    except BrokenPipeError:
        # Whoever read this has left; Python would still try to flush what is left of the text.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> ArgumentParser:
    """What the command line may say."""
    parser = ArgumentParser(
        prog="python -m django_tasks_q demo",
        description="Run some nine hundred jobs, a few of them ill-behaved, and see how they end.",
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
        help="jobs run at the same time (default: 2)",
    )
    parser.add_argument(
        "--serve",
        type=_whole(0, 65535),
        nargs="?",
        const=8000,
        metavar="PORT",
        help="open the admin afterwards, until Ctrl-C (default port: 8000)",
    )
    return parser


def _run(options: Namespace) -> int:
    if not hasattr(os, "fork"):
        raise Trouble("the worker needs an operating system with fork(), such as Linux or macOS.")
    with tempfile.TemporaryDirectory(prefix="django-tasks-q-demo-") as folder:
        os.environ["DJANGO_SETTINGS_MODULE"] = "django_tasks_q.demo.settings"
        os.environ[URL_VARIABLE] = options.database_url or f"sqlite:///{folder}/demo.sqlite3"
        # Imported late: Django takes long enough for a person to change their mind and press Ctrl-C.
        from .project import run

        return run(options, Path(folder))


def _listen_for_signals() -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def interrupt(number: int, _: object) -> None:
        # A second one would break off the cleaning up, which takes a few seconds at most.
        for each in heeded:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    for number in heeded:
        signal.signal(number, interrupt)


def _complain(line: str) -> None:
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
