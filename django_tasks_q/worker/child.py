"""A process child: runs the jobs it is handed one after the other, and knows nothing of the queue."""

from __future__ import annotations

import faulthandler
import os
import select
import signal
from collections import deque

from django.db import close_old_connections

from .. import _framework as framework
from ..backends import DatabaseBackend
from ..execution.runner import Runner
from ..outcomes import AttemptOutcome, Outcome
from ..storage import ClaimedJob
from . import protocol
from .forkserver import Pipes
from .protocol import Channel

#: Seconds without a job after which idle database connections are let go.
IDLE = 1.0


class Child:
    """The loop of a process child."""

    def __init__(self, pipes: Pipes, runner: Runner) -> None:
        self.channel = Channel(pipes.sock, blocking=True)
        self.tokens = pipes.token_reader
        self.runner = runner
        self.queue: deque[ClaimedJob] = deque()
        self.retired = False
        #: Final outcomes whose guarded write has not been confirmed yet.
        self.unconfirmed: dict[str, tuple[ClaimedJob, Outcome]] = {}

    def run(self) -> None:
        self.channel.send(protocol.READY)
        try:
            while not self.retired:
                self._receive()
                if self.queue:
                    self._next()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the parent is gone, and with it the claim on these jobs

    def _receive(self) -> None:
        if not self.queue and not select.select([self.channel], [], [], IDLE)[0]:
            close_old_connections()
        for kind, body in self.channel.receive(wait=not self.queue):
            if kind == protocol.RUN:
                self.queue.extend(protocol.unpack_jobs(body))
            elif kind == protocol.ENDED:
                self._confirm(body)

    def _next(self) -> None:
        try:
            os.read(self.tokens, 1)
        except BlockingIOError:
            # The parent has taken the rest back.
            self.queue.clear()
            self.channel.send(protocol.DROPPED)
            return
        job = self.queue.popleft()
        outcome = self.runner.run(job)
        if outcome.is_final:
            self.unconfirmed[str(job.id)] = (job, outcome)
        self.channel.send(protocol.OUTCOME, protocol.pack_outcome(outcome))
        # What was interrupted may have left anything behind: connections, locks, programs that it
        # started. They go with this process; the jobs it has not started go to another one.
        self.retired = outcome.kind is AttemptOutcome.TIMEOUT

    def _confirm(self, body: bytes) -> None:
        for (job_id, won), _ in protocol.unpack(body):
            known = self.unconfirmed.pop(job_id, None)
            if not won:
                continue
            if known is not None:
                self.runner.finished(*known)
            else:
                self.runner.finished_elsewhere(job_id)
        self.channel.send(protocol.TOLD)


def main(pipes: Pipes, config: dict[str, str]) -> None:
    """What the fork server runs in a new child. ``config`` names backend, database and worker."""
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    backend = framework.task_backends[config["backend"]]
    assert isinstance(backend, DatabaseBackend)  # noqa: S101 - the parent has checked it
    Child(pipes, Runner(backend, config["worker_id"], database=config["database"])).run()
