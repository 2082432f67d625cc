"""A process child: runs the jobs it is handed one after the other."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque

from django.db import close_old_connections

from ...execution.alarm import Alarm, AlarmControl, ReceiverAlarmControl
from ...execution.runner import HOOK_LIMIT, Runner
from ...lifecycle.outcome import AttemptOutcome
from ...storage import ClaimedJob, Note
from ..system import adopt_orphans, kill_descendants
from . import protocol
from .child_side import IDLE, Child
from .fork_server import Pipes
from .shared_memory import OVER, WAITING, AttemptClock

#: Seconds between two looks for messages while there are jobs at hand.
POLL = 0.002


class ProcessChild(Child):
    """The loop of a process child."""

    def __init__(self, pipes: Pipes, runner: Runner) -> None:
        super().__init__(pipes, runner)
        self.tokens = pipes.token_reader
        self.attempt_clock = AttemptClock(pipes.memory)
        self.alarm = Alarm()
        self.hooks = ReceiverAlarmControl(self.alarm, HOOK_LIMIT)
        self.queue: deque[ClaimedJob] = deque()
        self.looked_at = 0.0
        self.retired = False
        # What tasks leave behind comes back to this process, which ends it.
        adopt_orphans()

    def run(self) -> None:
        self.send(protocol.READY)
        try:
            while not self.retired:
                self._receive()
                if self.queue:
                    self._next()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the parent is gone, and with it the claim on these jobs

    def _receive(self) -> None:
        now = time.monotonic()
        if self.queue:
            if now - self.looked_at < POLL:
                return
        elif not select.select([self.channel], [], [], IDLE)[0]:
            close_old_connections()
        self.looked_at = now
        for kind, body in self.channel.receive(wait=not self.queue):
            if kind == protocol.RUN:
                self.queue.extend(self.handed(body))
            elif kind == protocol.ENDED:
                for announce in self.announcements(body):
                    self.runner.call_receivers(self.hooks, announce)
                self.send(protocol.SENT)

    def _next(self) -> None:
        self.attempt_clock.began = WAITING
        try:
            os.read(self.tokens, 1)
        except BlockingIOError:
            # The parent has taken the rest back.
            self.queue.clear()
            self.send(protocol.DROPPED)
            return
        job = self.queue.popleft()
        control = AlarmControl(
            self.alarm,
            job.timeout,
            begun=self._begun,
            is_cancelled=lambda: self.attempt_clock.is_cancelled(job.id, job.fence),
        )
        outcome = self.runner.run(job, control, self.hooks)
        self.attempt_clock.began = OVER
        kill_descendants()
        self.answer(job, outcome)
        # What was interrupted may have left anything behind: connections, locks, half-made objects.
        # They go with this process; the jobs it has not started go to another one. The same goes for a
        # task that closed a stream, behind which the next one to print would fail.
        is_interrupted = control.has_interrupted or outcome.kind is AttemptOutcome.TIMEOUT
        self.retired = is_interrupted or self.streams.are_closed

    def note(self, note: Note) -> None:
        # Nothing may be raised here by the alarm: half a frame on the pipe would be the end of this child.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            super().note(note)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})

    def _begun(self) -> None:
        self.attempt_clock.began = time.monotonic()
