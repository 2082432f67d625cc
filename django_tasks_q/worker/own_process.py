"""A separate process for a worker that a program starts by a call.

The worker needs the main thread of a process, its signals, timers and children, and connections that no other
code uses. A copy of the program has all that, and the program keeps what it has.
"""

from __future__ import annotations

import gc
import json
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, NoReturn

from django.db.backends.base.base import BaseDatabaseWrapper

from ..forks import end_process, flush_streams, show_error
from ..storage import forget_connections
from .signal_handlers import STOP, borrowed_signals, forwarded_signals
from .system import describe_exit, kill_process

#: Seconds between two looks at the event that stops the worker.
EVERY = 0.05
#: Seconds that a worker has to end when its caller is interrupted by an exception.
LAST_CHANCE = 10.0

#: The reason of a worker whose copy of the program cannot be used, and another may.
AGAIN = "again"

#: What a worker does: it is given a descriptor from which it reads requests to stop, and a function that
#: writes a line for the caller. It returns the reason why it could not work, or None.
Work = Callable[[int, Callable[[str], None]], str | None]


def open_connections() -> list[BaseDatabaseWrapper]:
    """Return Django's connection objects of all threads."""
    # By the type: isinstance() asks lazy objects for their class, which evaluates them.
    return [each for each in gc.get_objects() if issubclass(type(each), BaseDatabaseWrapper)]


class WorkerProcess:
    """The process of a worker, as its caller sees it."""

    def __init__(self, work: Work) -> None:
        report, report_writer = os.pipe()
        stop_reader, self._stop = os.pipe()
        # What ends in the copy must not end the sessions of the program.
        connections = open_connections()
        flush_streams()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(report)
            os.close(self._stop)
            _be_worker(work, stop_reader, report_writer, connections)
        os.close(report_writer)
        os.close(stop_reader)
        self._report = os.fdopen(report, "rb", buffering=0)
        self._unread = b""
        #: Why the worker could not work; None if it could. The text is set from the beginning, for a
        #: process that ends without a word.
        self.problem: str | None = "The process of the worker ended unexpectedly"
        #: Whether it was asked to stop.
        self.is_asked = False
        self._status: int | None = None

    def request_stop(self, *_: object) -> None:
        """Ask the worker to stop, as by a signal. A second time, it does not wait for running jobs."""
        self.is_asked = True
        with suppress(BrokenPipeError):  # it has ended
            os.write(self._stop, STOP)

    def wait(self, write: Callable[[str], None], stop: threading.Event | None) -> None:
        """Wait until the worker has ended. Pass its lines to ``write``, and ask it to stop at ``stop``."""
        poll = select.poll()
        poll.register(self._report, select.POLLIN)
        try:
            while not self._has_ended(bool(poll.poll(EVERY * 1000)), write):
                if stop is not None and not self.is_asked and stop.is_set():
                    self.request_stop()
        finally:
            self._end()

    def _has_ended(self, is_readable: bool, write: Callable[[str], None]) -> bool:
        """Read what there is to read. Return whether nothing more can come."""
        if is_readable:
            piece = self._report.read(1 << 16)
            *lines, self._unread = (self._unread + piece).split(b"\n")
            for line in lines:
                kind, text = json.loads(line)
                self._take(kind, text, write)
            return not piece
        # What a task has started may hold the other end of the pipe, and outlive the worker.
        return self._reap()

    def _take(self, kind: str, text: str | None, write: Callable[[str], None]) -> None:
        if kind == "line":
            write(text or "")
        else:
            self.problem = text

    def _reap(self) -> bool:
        """Return whether the process has ended."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the program ignores the end of its children, or has reaped it
                status, pid = 0, 0 if _lives(self.pid) else self.pid
            if pid:
                self._status = status
                if self.problem is not None and status:
                    self.problem = f"{describe_exit(status)}, which was the worker's"
        return self._status is not None

    def _end(self) -> None:
        """Wait until the process is gone, which should be about to end."""
        if not self._reap():
            os.close(self._stop)  # if it was not asked to stop yet
            self._stop = os.open(os.devnull, os.O_WRONLY)
        waited = 0.0
        while not self._reap():
            if waited > LAST_CHANCE:
                kill_process(self.pid)
            select.select((), (), (), 0.005)
            waited += 0.005
        os.close(self._stop)
        self._report.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def run_in_own_process(
    work: Work, write: Callable[[str], None], stop: threading.Event | None = None
) -> str | None:
    """Run a worker in a separate process until it ends. Return why it could not work, or None.

    Any thread may call it. In the main thread, the signals that stop a worker stop this one, and the
    program's handlers of them are in force again afterwards. Elsewhere only ``stop`` does. The worker also
    stops when the calling process ends.
    """
    while True:
        process = WorkerProcess(work)
        with forwarded_signals(process.request_stop):
            process.wait(write, stop)
        if process.problem != AGAIN:
            return process.problem
        if process.is_asked:
            return None


def _be_worker(work: Work, stop: int, report: int, connections: list[Any]) -> NoReturn:
    code = 1
    try:
        # What a terminal sends its foreground group is for the program, which passes it on.
        os.setsid()
        forget_connections(connections)
        with os.fdopen(report, "wb", buffering=0) as stream, borrowed_signals(is_last=True):
            problem = work(stop, lambda text: _send(stream, "line", text))
            _send(stream, "end", problem)
        code = 0
    except BaseException:
        show_error()
    finally:
        end_process(code)


def _send(stream: IO[bytes], kind: str, text: str | None) -> None:
    data = memoryview(json.dumps([kind, text]).encode() + b"\n")
    with suppress(BrokenPipeError):  # the caller is gone, for which the worker stops
        while data:
            data = data[stream.write(data) :]
