"""A thread child: runs as many jobs at a time as it has threads."""

from __future__ import annotations

import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import close_old_connections

from ...execution.runner import HOOK_LIMIT, Runner
from ...execution.thread_timeout import ReceiverThreadControl, ThreadControl
from ...storage import ClaimedJob
from . import protocol
from .child_side import IDLE, Child
from .fork_server import Pipes

Work = Callable[[], None]


class ThreadChild(Child):
    """The main thread of a thread child. It takes in what the parent says, and looks at the clock."""

    def __init__(self, pipes: Pipes, runner: Runner, size: int) -> None:
        super().__init__(pipes, runner)
        self.jobs: queue.SimpleQueue[Work] = queue.SimpleQueue()
        #: Receivers are called by a thread of their own, one after the other.
        self.ended: queue.SimpleQueue[Work] = queue.SimpleQueue()
        #: User code that may have to be interrupted.
        self.running: dict[UUID, ThreadControl] = {}
        #: Receivers of signals that may have to be.
        self.hooks: set[ThreadControl] = set()
        self._woken, self._poke = socket.socketpair()
        for source in [self.jobs] * size + [self.ended]:
            # They end with the process, whatever they are busy with.
            threading.Thread(target=_work, args=(source,), daemon=True).start()

    def run(self) -> None:
        self.send(protocol.READY)
        sources: list[Any] = [self.channel, self._woken]
        try:
            while True:
                due = min((control.remaining for control in self._clocks()), default=IDLE)
                ready = select.select(sources, [], [], min(due, IDLE))[0]
                if self._woken in ready:
                    self._woken.recv(4096)
                if self.channel in ready:
                    self._receive()
                for control in self._clocks():
                    if not control.remaining:
                        control.interrupt()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the parent is gone, and with it the claim on these jobs

    def _clocks(self) -> list[ThreadControl]:
        clocks = [*self.running.copy().values(), *self.hooks.copy()]
        return [control for control in clocks if control.is_interruptible]

    def _receive(self) -> None:
        for kind, body in self.channel.receive():
            if kind == protocol.RUN:
                for job in self.handed(body):
                    control = ThreadControl(job.timeout, begun=lambda job=job: self._begun(job))  # type: ignore[misc]
                    self.running[job.id] = control
                    self.jobs.put(lambda job=job, control=control: self._run(job, control))  # type: ignore[misc]
            elif kind == protocol.ENDED:
                self.ended.put(lambda body=body: self._tell(body))  # type: ignore[misc]
            elif kind == protocol.CANCEL:
                control_or_none = self.running.get(UUID(bytes=body))
                if control_or_none is not None:
                    control_or_none.cancel()
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
            self.running.pop(job.id, None)
        self._note(control, hooks)
        self.answer(job, outcome)

    def _note(self, *controls: ThreadControl) -> None:
        if any(control.has_interrupted for control in controls) or self.streams.are_closed:
            # It may have left anything half done, or closed, that others in this process need.
            self.send(protocol.TIRED)

    def _begun(self, job: ClaimedJob) -> None:
        if job.timeout is not None and job.timeout < IDLE:
            self._poke.send(b".")  # the main thread may be about to sleep longer
        self.send(protocol.STARTED, job.id.bytes)

    def _tell(self, body: bytes) -> None:
        for announce in self.announcements(body):
            hooks = ReceiverThreadControl(HOOK_LIMIT)
            self.hooks.add(hooks)
            try:
                self.runner.call_receivers(hooks, announce)
            finally:
                self.hooks.discard(hooks)
            self._note(hooks)
        self.send(protocol.SENT)


def _work(source: queue.SimpleQueue[Work]) -> None:
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
            return  # the parent is gone; the main thread notices too
