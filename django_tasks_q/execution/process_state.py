"""State of a process that outlives an attempt: what is put back, and what ends the process.

The table in ``docs/explanation/isolation.md`` describes each line, and names what is not looked at.
"""

from __future__ import annotations

import asyncio
import locale
import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

# Those of the module ``signal`` make an Enum of each value, which takes ten times as long.
_signals = import_module("_signal")
# That of the module ``locale`` is one more call.
_setlocale = import_module("_locale").setlocale
#: All of them at once take twice as long.
_CATEGORIES = ("LC_NUMERIC", "LC_TIME", "LC_COLLATE", "LC_MONETARY")
_SIGNALS = (
    "SIGALRM", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGCHLD", "SIGPIPE", "SIGUSR1", "SIGUSR2",
    "SIGVTALRM", "SIGPROF",
)  # fmt: skip


def _working_directory() -> str:
    """Return the path; empty if the directory was deleted, before the worker started or by a task."""
    try:
        return os.getcwd()  # noqa: PTH109 - a Path would cost more than the call
    except OSError:
        return ""


#: What of a process is compared between two attempts, and how it is read. If it has changed, the child ends.
RETIRING: dict[str, Callable[[], Any]] = {
    "working directory": _working_directory,
    "default timeout of sockets": socket.getdefaulttimeout,
    "logging.disable()": partial(getattr, logging.root.manager, "disable"),
    "recursion limit": sys.getrecursionlimit,
    "sys.path": partial(getattr, sys, "path"),
    "sys.stdin": partial(getattr, sys, "stdin"),
    "sys.stdout": partial(getattr, sys, "stdout"),
    "sys.stderr": partial(getattr, sys, "stderr"),
    "event loop policy": partial(getattr, asyncio.events, "_event_loop_policy", None),
    "blocked signals": partial(_signals.pthread_sigmask, signal.SIG_BLOCK, ()),
}
RETIRING |= {name: partial(_setlocale, getattr(locale, name)) for name in _CATEGORIES}
RETIRING |= {f"handler of {name}": partial(_signals.getsignal, getattr(signal, name)) for name in _SIGNALS}
_READERS = tuple(RETIRING.values())


class ProcessState:
    """The state that each attempt of a process starts with: the one at the time when this is made."""

    def __init__(self) -> None:
        asyncio.new_event_loop().close()  # which makes the policy, if it is not there yet
        self._before = _read()
        # A copy of the list, in which modules may have been put.
        self._environment = dict(_environment())
        self._filters = list(warnings.filters)
        self._show_warning = warnings.showwarning
        self._umask = os.umask(0)
        os.umask(self._umask)

    def changed(self) -> str:
        """Return what has changed and ends the process, in words; empty if nothing has."""
        # There is no other way to read it. What this sets is what is right.
        is_masked = os.umask(self._umask) != self._umask
        now = _read()
        if is_masked:
            return "umask"
        if now == self._before:
            return ""
        pairs = zip(RETIRING, self._before, now, strict=True)
        return ", ".join(name for name, before, value in pairs if before != value)

    def restore(self) -> None:
        """Put back what modules also change when they are imported, and processes do not end for."""
        if _environment() != self._environment:
            self._restore_environment()
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]
            with warnings.catch_warnings():
                pass  # to enter and to leave it makes Python forget what the old filters have decided
        if warnings.showwarning is not self._show_warning:
            warnings.showwarning = self._show_warning
        _forget_closed_loop()

    def _restore_environment(self) -> None:
        environment, before = os.environb, self._environment
        zone = environment.get(b"TZ")
        for name in [name for name in environment if name not in before]:
            del environment[name]
        for name, value in before.items():
            if environment.get(name) != value:
                environment[name] = value
        if environment.get(b"TZ") != zone:
            time.tzset()


def _read() -> list[Any]:
    return [read() for read in _READERS]


def _environment() -> dict[bytes, bytes]:
    """Return the variables as they are kept. The comparison of the Mapping takes fifty times as long."""
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return data


def _forget_closed_loop() -> None:
    """Undo ``asyncio.set_event_loop()`` for a loop that is of no use to the next attempt."""
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    loop = getattr(getattr(policy, "_local", None), "_loop", None)
    if loop is not None and loop.is_closed():
        asyncio.set_event_loop(None)
