"""A worker as a child process of a program that does something else, such as to serve a site."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from .signal_handlers import STOP

#: The flag by which the worker ends when the program does, however that happens.
ENDS_WITH_INPUT = "--stop-at-end-of-input"


class WorkerBeside:
    """A worker in its own session, which stops when the program stops it, or ends.

    ``command`` starts ``runworker``, and is given one more flag. ``ended`` is called in another thread, with
    the exit status, when the worker ends without being asked to stop.

    Raises OSError if the process cannot be started.
    """

    def __init__(
        self, command: Sequence[str], ended: Callable[[int], None], environment: Mapping[str, str]
    ) -> None:
        # Not a copy of this process, which would keep a server's sockets open.
        self._process = subprocess.Popen(  # noqa: S603 - a command of this package
            [*command, ENDS_WITH_INPUT],
            stdin=subprocess.PIPE,
            bufsize=0,
            env=os.environ | environment,
            # A terminal's Ctrl-C is for the program, which then stops the worker.
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        self._input = self._process.stdin
        self._is_asked = False
        self._has_ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), daemon=True).start()

    def _watch(self, ended: Callable[[int], None]) -> None:
        status = self._process.wait()
        self._input.close()
        self._has_ended.set()
        if not self._is_asked:
            ended(status)

    def request_stop(self) -> None:
        """Ask it to stop. The second time, it does not wait for running jobs."""
        self._is_asked = True
        with suppress(BrokenPipeError, ValueError):  # it has ended, or its input is closed
            self._input.write(STOP)

    def wait(self) -> None:
        """Wait until it has ended."""
        self._has_ended.wait()
