"""Async children, which run coroutines on one event loop, as many at a time as they are sent: both ends."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from ...execution.control import Control
from ...execution.runner import Runner
from ...execution.sync_threads import SeparateCalls, SyncThreads
from ...forks import leave_if_copy
from ...storage import ClaimedJob
from . import protocol
from .child_side import IDLE, ChildSide
from .concurrent import ConcurrentParentSide
from .fork_server import Pipes

#: Seconds that a blocking call may go on after its attempt was cancelled, before another child takes over.
HANG_TIMEOUT = 10.0


class AsyncParentSide(ConcurrentParentSide):
    """The supervisor's end of the pipe. A coroutine that ignores its cancellation is given up."""

    gives_up_cancelled = True


class _Selector(selectors.DefaultSelector):
    """Ends a copy of the process that goes on with its event loop: the loop's files are the original's."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid = pid

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        leave_if_copy(self.pid)
        return super().select(timeout)


class AsyncChildSide(ChildSide):
    """The child's end of the pipe, on its event loop."""

    def __init__(self, pipes: Pipes, make_runner: Callable[..., Runner], capacity: int) -> None:
        super().__init__(pipes, make_runner, capacity)
        self.threads = SyncThreads()
        self.running: dict[tuple[UUID, int], Control] = {}
        #: Kept here, since the loop itself does not keep tasks from being collected.
        self.tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        loop = asyncio.new_event_loop()
        if type(loop) is asyncio.SelectorEventLoop:  # else the project has chosen another
            loop.close()
            loop = asyncio.SelectorEventLoop(_Selector(self.pid))
        asyncio.set_event_loop(loop)
        # Not asyncio.run(): that would wait for coroutines that ignore their cancellation.
        loop.run_until_complete(self._main())

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        self.gone = loop.create_future()
        self.runner.resolver.use_loop(loop)
        loop.set_default_executor(SeparateCalls())
        self.finished: asyncio.Queue[bytes] = asyncio.Queue()
        self._keep(self._call_receivers())
        self._keep(self._rest())
        loop.add_reader(self.channel, self._receive)
        self.send(protocol.READY)
        await self.gone
        await self.runner.resolver.aclose()

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _receive(self) -> None:
        leave_if_copy(self.pid)
        try:
            for kind, body in self.channel.receive():
                if kind == protocol.RUN:
                    for job in self.jobs_in(body)[1]:
                        self._start(job)
                elif kind == protocol.FINISHED:
                    self.finished.put_nowait(body)
                elif kind == protocol.CANCEL and (control := self.running.get(protocol.unpack_attempt(body))):
                    control.cancel()
                elif kind == protocol.STOP:
                    self.stop(body, self.running.values())
                elif kind == protocol.PING:
                    self.send(protocol.PONG)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            # The supervisor is gone, and with it the claim on these jobs.
            if not self.gone.done():
                self.gone.set_result(None)

    def _start(self, job: ClaimedJob) -> None:
        key = job.id, job.fence
        control = Control(
            job.timeout,
            begun=lambda: self.send(protocol.STARTED, protocol.pack_attempt(*key)),
            stop_at=lambda: self.stop_at,
        )
        self.running[key] = control
        self._keep(self._run(job, control))

    async def _run(self, job: ClaimedJob, control: Control) -> None:
        try:
            outcome = await self.runner.arun(job, control, self.threads)
        finally:
            self.running.pop((job.id, job.fence), None)
        if self.must_retire:
            self.send(protocol.RETIRE)  # before the outcome, so that no other job follows
        self.send_outcome(job, outcome)

    async def _call_receivers(self) -> None:
        while True:
            for announce in self.announcements(await self.finished.get()):
                await self.runner.acall_receivers(self.threads, announce)
            self.send(protocol.SENT)

    async def _rest(self) -> None:
        while True:
            await asyncio.sleep(IDLE)
            self.threads.rest()
            if asyncio.get_running_loop().time() - self.threads.hanging_since > HANG_TIMEOUT:
                self.send(protocol.RETIRE)
