"""Keeps copies of a process, made by ``os.fork()`` in user code, from acting as the process itself.

A copy that returns from user code ends here, as a separate program would: it never writes an outcome,
takes a job, or runs what follows in the original.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO, NoReturn


class OneProcess:
    """A block of user code. A process that enters it leaves it; a copy that was made inside ends there."""

    __slots__ = ("_pid",)

    def __enter__(self) -> None:
        self._pid = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            leave(error)


def leave_if_copy(pid: int) -> None:
    """End this process, if it is not the one with that id."""
    if os.getpid() != pid:
        leave(None)


def leave(error: BaseException | None) -> NoReturn:
    """End this process at once, with the status and the message that ``error`` ends a program with."""
    code = 1
    try:
        code = _status(error)
    finally:
        end_process(code)


def end_process(code: int) -> NoReturn:
    """Flush the streams and end the process by ``os._exit()``. Nothing is raised."""
    try:
        flush_streams()
    finally:
        os._exit(code)


def flush_streams() -> None:
    """Flush both streams, ignoring all errors."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - suppress() takes ten times as long, and this follows each job
            stream.flush()
        except BaseException:  # noqa: S110 - closed, None, a broken pipe, a full disk
            pass


def discard_output(stream: IO[str]) -> None:
    """Let a stream write to nothing from now on, what it has buffered included.

    For streams that cannot be written to: when the interpreter exits, it would try again, and report that.
    """
    with suppress(OSError, ValueError):  # a stream may have no descriptor
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, stream.fileno())
        finally:
            os.close(nothing)


def show_error() -> None:
    """Print the exception that is being handled, as far as that is possible. Nothing is raised."""
    with suppress(BaseException):
        sys.excepthook(*sys.exc_info())


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        with suppress(BaseException):
            sys.excepthook(type(error), error, error.__traceback__)
        return 1
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1
