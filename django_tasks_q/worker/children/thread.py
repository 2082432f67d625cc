"""Thread children, which run as many jobs at a time as they have threads: both ends of the pipe."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import close_old_connections

from ...execution.other_threads import cleans_itself
from ...execution.runner import HOOK_LIMIT, Runner
from ...execution.thread_timeout import ReceiverThreadControl, ThreadControl
from ...polling import readable
from ...storage import ClaimedJob
from . import protocol
from .child_side import IDLE, ChildSide
from .concurrent import ConcurrentParentSide
from .fork_server import Pipes

Work = Callable[[], None]


class ThreadParentSide(ConcurrentParentSide):
    """The supervisor's end of the pipe. A cancelled thread decides itself when to end."""


class ThreadChildSide(ChildSide):
    """The child's end of the pipe. Its main thread reads the pipe and enforces deadlines."""

    def __init__(self, pipes: Pipes, make_runner: Callable[..., Runner], capacity: int) -> None:
        super().__init__(pipes, make_runner, capacity)
        self.jobs: queue.SimpleQueue[Work] = queue.SimpleQueue()
        #: Calls of receivers, which a thread of their own makes one after the other.
        self.finished: queue.SimpleQueue[Work] = queue.SimpleQueue()
        #: User code that may have to be interrupted.
        self.running: dict[tuple[UUID, int], ThreadControl] = {}
        #: Receivers of signals that may have to be interrupted.
        self.hooks: set[ThreadControl] = set()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for source in [self.jobs] * capacity + [self.finished]:
            # They end with the process, whatever they are doing.
            threading.Thread(target=_work, args=(source,), daemon=True).start()

    def run(self) -> None:
        self.send(protocol.READY)
        sources: list[Any] = [self.channel, self._wake_reader]
        while True:
            due = min((control.interrupts_in for control in self._clocks()), default=IDLE)
            ready = readable(sources, min(due, IDLE))
            if self._wake_reader in ready:
                self._wake_reader.recv(4096)
            if self.channel in ready:
                self._receive()
            for control in self._clocks():
                if not control.interrupts_in:
                    control.interrupt()

    def _clocks(self) -> list[ThreadControl]:
        return [*self.running.copy().values(), *self.hooks.copy()]

    def _receive(self) -> None:
        for kind, body in self.channel.receive():
            if kind == protocol.RUN:
                for job in self.jobs_in(body)[1]:
                    control = ThreadControl(
                        job.timeout,
                        begun=lambda job=job: self._begun(job),  # type: ignore[misc]
                        stop_at=lambda: self.stop_at,
                    )
                    self.running[job.id, job.fence] = control
                    self.jobs.put(lambda job=job, control=control: self._run(job, control))  # type: ignore[misc]
            elif kind == protocol.FINISHED:
                self.finished.put(lambda body=body: self._call_receivers(body))  # type: ignore[misc]
            elif kind == protocol.CANCEL:
                control_or_none = self.running.get(protocol.unpack_attempt(body))
                if control_or_none is not None:
                    control_or_none.cancel()
            elif kind == protocol.STOP:
                self.stop(body, self.running.copy().values())
            elif kind == protocol.PING:
                self.send(protocol.PONG)

    # In the other threads

    def _run(self, job: ClaimedJob, control: ThreadControl) -> None:
        hooks = ReceiverThreadControl(HOOK_LIMIT)
        self.hooks.add(hooks)
        try:
            outcome = self.runner.run(job, control, hooks)
        finally:
            self.hooks.discard(hooks)
            self.running.pop((job.id, job.fence), None)
        self._retire_after(control, hooks)
        self.send_outcome(job, outcome)

    def _retire_after(self, *controls: ThreadControl) -> None:
        if any(control.has_interrupted for control in controls) or self.must_retire:
            # Interrupted code may have left anything half done, or closed, that others in this process need.
            self.send(protocol.RETIRE)

    def _begun(self, job: ClaimedJob) -> None:
        if job.timeout is not None and job.timeout < IDLE:
            self._wake_writer.send(b".")  # the main thread may be about to sleep longer
        self.send(protocol.STARTED, protocol.pack_attempt(job.id, job.fence))

    def _call_receivers(self, body: bytes) -> None:
        for announce in self.announcements(body):
            hooks = ReceiverThreadControl(HOOK_LIMIT)
            self.hooks.add(hooks)
            try:
                self.runner.call_receivers(hooks, announce)
            finally:
                self.hooks.discard(hooks)
            self._retire_after(hooks)
        self.send(protocol.SENT)


def _work(source: queue.SimpleQueue[Work]) -> None:
    cleans_itself()
    used = False
    while True:
        try:
            work = source.get(timeout=IDLE if used else None)
        except queue.Empty:
            close_old_connections()
            used = False
            continue
        used = True
        try:
            work()
        except (BrokenPipeError, ConnectionResetError):
            return  # the supervisor is gone; the main thread notices it as well
