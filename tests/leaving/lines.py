"""What a task can change in its process, line by line: how it is read, and how a task changes it."""

from __future__ import annotations

import asyncio
import decimal
import io
import locale
import logging
import os
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection, connections
from django.utils import timezone, translation


class Line(NamedTuple):
    read: Callable[[], Any]
    change: Callable[[], Any]
    #: Executors of which the next job finds it as it was.
    kinds: tuple[str, ...] = ("process", "thread", "async")


def _into_deleted_directory() -> None:
    path = tempfile.mkdtemp()
    os.chdir(path)
    Path(path).rmdir()


def _directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "deleted"


def _umask() -> int:
    before = os.umask(0o777)
    os.umask(before)
    return before


def _divide() -> str:
    return str(decimal.Decimal(1) / decimal.Decimal(3))


def _mask() -> list[int]:
    return sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def _timer_without_handler() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def _loop() -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "closed" if asyncio.get_event_loop().is_closed() else "open"
    except RuntimeError:
        return "open"  # none, which a task can do something about


def _leave_closed_loop() -> None:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.close()


class _Policy(asyncio.DefaultEventLoopPolicy):
    pass


def _nothing(*args: Any) -> Any:
    return args[0](*args[1:])


def _alter_environment() -> None:
    os.environ["LEFT"] = "by a task"
    os.environ["PATH"] = "/nowhere"
    del os.environ["PYTHONUNBUFFERED"]


_SYNC = ("process", "thread")
_MAIN_THREAD = ("process", "async")
_LOCALE = "C.UTF-8" if locale.setlocale(locale.LC_TIME) == "C" else "C"

LINES: dict[str, Line] = {
    "decimal": Line(_divide, lambda: setattr(decimal.getcontext(), "prec", 3)),
    "decimal context": Line(_divide, lambda: decimal.setcontext(decimal.Context(prec=3))),
    "directory": Line(_directory, lambda: os.chdir("/")),
    "deleted directory": Line(_directory, _into_deleted_directory),
    "umask": Line(_umask, lambda: os.umask(0o077)),
    "environment": Line(lambda: sorted(os.environ.items()), _alter_environment),
    "locale": Line(
        lambda: locale.setlocale(locale.LC_TIME), lambda: locale.setlocale(locale.LC_ALL, _LOCALE)
    ),
    "socket timeout": Line(socket.getdefaulttimeout, lambda: socket.setdefaulttimeout(0.5)),
    "logging": Line(lambda: logging.root.manager.disable, lambda: logging.disable(logging.CRITICAL)),
    "warnings": Line(lambda: len(warnings.filters), lambda: warnings.simplefilter("ignore")),
    "recursion": Line(sys.getrecursionlimit, lambda: sys.setrecursionlimit(5000)),
    "path": Line(lambda: sys.path, lambda: setattr(sys, "path", ["/nowhere", *sys.path])),
    "stdout": Line(lambda: type(sys.stdout).__name__, lambda: setattr(sys, "stdout", io.StringIO())),
    "alarm handler": Line(
        lambda: signal.getsignal(signal.SIGALRM) is signal.SIG_IGN,
        lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
        _MAIN_THREAD,
    ),
    "handler": Line(
        lambda: signal.getsignal(signal.SIGUSR1),
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
        _MAIN_THREAD,
    ),
    "blocked signals": Line(_mask, lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})),
    "timer": Line(_divide, _timer_without_handler, ("process",)),
    "policy": Line(
        lambda: type(asyncio.get_event_loop_policy()).__name__,
        lambda: asyncio.set_event_loop_policy(_Policy()),
    ),
    "closed loop": Line(_loop, _leave_closed_loop, _SYNC),
    "time zone": Line(timezone.get_current_timezone_name, lambda: timezone.activate("Pacific/Chatham")),
    "translation": Line(translation.get_language, lambda: translation.activate("eo")),
    "execute wrappers": Line(
        lambda: sum(wrapper is _nothing for wrapper in connection.execute_wrappers),
        lambda: connection.execute_wrappers.append(_nothing),
    ),
    "attribute of the connection": Line(
        lambda: vars(connections["default"]).get("schema_name"),
        lambda: setattr(connections["default"], "schema_name", "one"),
    ),
}
