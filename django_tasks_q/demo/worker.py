"""The demo's worker: ``runworker`` as a process of its own, as it would be in production."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..worker.system import die_with_parent
from .jobs import BACKEND

#: Seconds the worker has to end when all its jobs are done, and when nobody waits for them any more.
GRACE, HASTE = 30.0, 5.0


class Worker:
    """A running worker."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> list[str]:
        """Ask for a graceful stop. Answers what was wrong with it."""
        self.process.terminate()
        try:
            status = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return [f"The worker did not stop within {GRACE:g} seconds of SIGTERM."]
        return [f"The worker stopped with status {status}."] if status else []

    def end(self) -> None:
        """Leave nothing of it behind, at once."""
        if self.has_ended:
            return
        # The second request gives up waiting for the running jobs. Two of a kind could arrive as one.
        self.process.send_signal(signal.SIGTERM)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(HASTE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self, count: int = 15) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


@contextmanager
def started(queue: str, processes: int, log: Path) -> Iterator[Worker]:
    """Start a worker for one queue. When the block is left, nothing of it is."""
    command = [sys.executable, "-m", "django", "runworker", "--backend", BACKEND, "--queue", queue]
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--processes", str(processes)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the demo to handle, which then tells the worker.
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - there is no thread yet
        )
    worker = Worker(process, log)
    try:
        yield worker
    finally:
        worker.end()
