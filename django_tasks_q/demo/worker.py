"""The worker of the demo: ``runworker`` in its own process, as in production."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..validation import plain
from ..worker.system import die_with_parent
from .jobs import BACKEND

#: Seconds that the worker may take to stop: after all jobs have ended, and after the demo has failed.
STOP_TIMEOUT, KILL_TIMEOUT = 30.0, 5.0


class Worker:
    """A running worker."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> list[str]:
        """Stop the worker gracefully. Return what went wrong, if anything."""
        self.process.terminate()
        try:
            status = self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            return [f"The worker did not stop within {plain(STOP_TIMEOUT)} seconds of SIGTERM."]
        return [f"The worker stopped with status {status}."] if status else []

    def end(self) -> None:
        """Stop the worker and all its processes at once."""
        if self.has_ended:
            return
        # The second signal kills running jobs. Two signals of the same kind could arrive as one.
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(KILL_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log_tail(self, count: int = 15) -> str:
        """Return the last lines of the worker's output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


@contextmanager
def started(queue: str, processes: int, log: Path) -> Iterator[Worker]:
    """Start a worker for one queue, and stop it when the block ends."""
    command = [sys.executable, "-m", "django", "runworker", "--backend", BACKEND, "--queue", queue]
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--processes", str(processes)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # The demo handles Ctrl-C, and then stops the worker.
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - there is no thread yet
        )
    worker = Worker(process, log)
    try:
        yield worker
    finally:
        worker.end()
