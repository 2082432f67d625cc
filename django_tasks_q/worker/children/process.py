"""Process children, which run one job at a time: the supervisor's end of the pipe, and the child's.

Several jobs are sent at once, to save round trips. The pipe of tokens between the two ends decides who has
each of them: see ``handover``. So a short job never waits behind a long one, and when a child dies, the
tokens that it has left are exactly the jobs that it had not started.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID

from ...execution import endings
from ...execution.alarm import Alarm, AlarmControl, ReceiverAlarmControl
from ...execution.runner import HOOK_LIMIT, Runner
from ...lifecycle.outcome import AttemptOutcome, Outcome
from ...polling import readable
from ...storage import ClaimedJob, Note
from ..executor_groups import Group
from ..system import adopt_orphans, kill_descendants
from . import protocol
from .child_side import IDLE, ChildSide
from .fork_server import Pipes
from .handover import (
    NO_OFFER,
    TOKEN_SIZE,
    ChildHandover,
    Offer,
    OfferState,
    serial_of,
)
from .parent_side import HOOK_TIMEOUT, START_TIMEOUT, ParentSide
from .shared_memory import OVER, WAITING, AttemptClock

#: The most jobs that a child may hold.
MAX_AHEAD = 200
#: Bytes of outcomes that a child can send unread. A pipe has room for three times as many.
PIPE = 1 << 16
#: Seconds after which the jobs behind a running one are taken back.
TAKE_BACK_AFTER = 0.02
#: The most seconds until jobs are taken back from a child that began none of them: doubled each time.
LONGEST_TAKE_BACK = 5.0
#: Seconds between two reads of the pipe while the child holds jobs.
POLL = 0.002


class ProcessParentSide(ParentSide):
    """The supervisor's end of the pipe to a process child."""

    in_order = True

    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        super().__init__(key, group, pipes)
        self.attempt_clock = AttemptClock(pipes.memory)
        #: Whether it began none of the jobs that it was sent, and has not replied since they were withdrawn.
        self.is_silent = False
        #: Seconds that it has to begin the first of the jobs that it is sent next.
        self.take_back_after = TAKE_BACK_AFTER
        #: Bytes that had not left when the first of its jobs was last seen on its way.
        self.leaving = 0
        #: The attempt whose user code is over, by its serial number, and when that was first seen.
        self.over: tuple[int, float] = NO_OFFER, 0.0

    @property
    def seconds_of_work(self) -> float:
        held = self.held
        if held < 2 or self.channel.has_unsent or not self.accepts:
            return 0.0
        # The outcomes need room on the pipe until they are read.
        return min(held - 1, PIPE / self.group.usual_result_size) * self.group.pace

    def room(self, now: float) -> int:
        if not self.accepts or self.is_silent or self.channel.has_unsent:
            return 0
        if self.unsent and now - self.sending_since > TAKE_BACK_AFTER:
            return 0  # receivers take long
        if self.held and now - self.since > TAKE_BACK_AFTER:
            return 0  # a job that is sent now would only have to be taken back
        return self.limited(min(self.group.ahead, MAX_AHEAD) - self.held)

    def places(self, now: float) -> int:
        return 0 if self.held else min(1, self.room(now))

    def send(self, jobs: list[ClaimedJob]) -> None:
        is_free = not self.held
        now = time.monotonic()
        first, tokens = self.handover.offer(jobs, now)
        os.write(self.pipes.token_writer, tokens)
        self.send_frame(jobs, first)
        if is_free:
            self.since = now
            self.leaving = self.channel.unsent

    def has_ended(self, offer: Offer) -> None:
        self.take_back_after = TAKE_BACK_AFTER
        self.since = time.monotonic()  # from now on it is free for the next

    def responded(self) -> None:
        self.is_silent = False

    def has_sent(self) -> None:
        super().has_sent()
        self.since = time.monotonic()

    def take_back(self) -> list[ClaimedJob]:
        try:
            tokens = os.read(self.pipes.token_reader, MAX_AHEAD * TOKEN_SIZE)
        except BlockingIOError:
            tokens = b""
        return self.handover.withdraw(tokens)

    def forget(self) -> None:
        self.take_back()
        super().forget()

    def cancel(self, job_id: UUID) -> bool:
        if not self.handover.holds(job_id):
            return False
        # A job that has not started goes back to the backlog, where the pool finds it.
        self.group.put_back(self.take_back())
        if not self.handover.holds(job_id):
            return False
        offer = self.handover.cancel(job_id, time.monotonic())
        if offer is not None and self.pid is not None:
            self.attempt_clock.cancel(offer.serial)
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGALRM)
        return True

    def stop(self, at: float) -> None:
        self.attempt_clock.stop(at)
        if self.ready and self.pid is not None:  # before that, nothing of it would handle the signal
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGALRM)

    @property
    def _take_back_after(self) -> float:
        """Seconds from ``since`` until the jobs that wait are taken back."""
        return TAKE_BACK_AFTER if self._began > 0 or self.unsent else self.take_back_after

    @property
    def _began(self) -> float:
        """When the code of the oldest job began; or WAITING, or OVER."""
        oldest = self.handover.oldest
        serial, began = self.attempt_clock.turn
        return began if oldest is not None and oldest.serial == serial else WAITING

    def enforce_jobs(self, now: float) -> list[Outcome]:
        if self.leaving > self.channel.unsent:
            # What has not left cannot have begun. A child that reads nothing is given no more time.
            self.since, self.leaving = now, self.channel.unsent
        self.handover.taken(self.attempt_clock.turn[0])
        if self.handover.has_untaken and (now - self.since > self._take_back_after or self.is_retiring):
            self.group.put_back(self.take_back())
            if not self.held and not self.unsent:
                # It may have been reading, or waiting for a processor. If it were sent the same jobs again
                # and again, it would never begin any of them.
                self.take_back_after = min(LONGEST_TAKE_BACK, 2 * self.take_back_after)
                self.is_silent = True
                self.channel.send(protocol.PING)
        if self.held:
            if (reason := self._kill_reason(now)) is not None:
                self.kill(reason)
        elif self._hangs_sending(now):
            self.kill("hook")
        return []

    def _kill_reason(self, now: float) -> str | None:
        return next((reason for reason, due in self._deadlines(now) if due < now), None)

    def _deadlines(self, now: float) -> Iterator[tuple[str, float]]:
        """Return for what the child is to be killed, and when, as far as it is known."""
        offer = self.handover.oldest
        if offer is None:
            return
        if offer.cancelled_at is not None:
            yield "cancel", offer.cancelled_at + self.group.settings.grace
        began = self._began
        if began == OVER:
            if self.over[0] != offer.serial:
                self.over = offer.serial, now
            yield "end", self.over[1] + START_TIMEOUT
        elif began == WAITING:
            if offer.state is not OfferState.OFFERED:
                yield "start", self.since + START_TIMEOUT
        elif offer.job.timeout is not None:
            # The child ends the attempt itself before that.
            yield "timeout", began + offer.job.timeout + self.group.settings.grace

    def jobs_due(self, now: float) -> float:
        due = [moment for _, moment in self._deadlines(now)]
        if self.handover.has_untaken:
            due.append(self.since + self._take_back_after)
        if (oldest := self.handover.oldest) is not None:
            if self._began == WAITING:
                # Its code may begin at any moment, and no message says so.
                limit = START_TIMEOUT
                if oldest.job.timeout is not None:
                    limit = min(limit, oldest.job.timeout + self.group.settings.grace)
                due.append(now + limit)
        elif self.unsent:
            due.append(self.sending_since + HOOK_TIMEOUT)
        return min(due, default=float("inf")) - now

    def end_attempts(self, status: int) -> list[Outcome]:
        self.group.put_back(self.take_back())
        turn, began = self.attempt_clock.turn
        outcomes = []
        for offer in self.handover.clear():
            job = offer.job
            if offer.serial != turn:
                began = WAITING
            duration = time.monotonic() - (began if began > 0 else self.since)
            has_begun = began != WAITING
            match self.kill_reason:
                case "timeout":
                    outcome = endings.by_timeout(job, self.group.settings, duration)
                case "cancel":
                    outcome = endings.by_cancellation(job, self.group.settings, duration)
                case "release":
                    outcome = endings.by_stop(job, duration, has_begun=has_begun)
                case "worker":
                    settings = self.group.settings
                    outcome = endings.by_end_of_worker(job, settings, duration, has_begun=has_begun)
                case "start":
                    outcome = self.not_started(job)
                case _:
                    outcome = self.crashed(job, status, duration, has_begun=has_begun)
            outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        super().close()
        self.attempt_clock.close()


class ProcessChildSide(ChildSide):
    """The child's end of the pipe: runs the jobs that it is sent one after the other."""

    def __init__(self, pipes: Pipes, make_runner: Callable[..., Runner], capacity: int) -> None:
        super().__init__(pipes, make_runner, capacity)
        self.tokens = pipes.token_reader
        self.attempt_clock = AttemptClock(pipes.memory)
        self.alarm = Alarm()
        self.hooks = ReceiverAlarmControl(self.alarm, HOOK_LIMIT)
        self.handover = ChildHandover()
        #: Frames of finished jobs whose receivers are to be called.
        self.finished: deque[bytes] = deque()
        self.read_at = 0.0
        #: Whether it runs no more jobs, and ends when the supervisor has no more receivers for it to call.
        self.retired = False
        # Processes that tasks leave behind become children of this process, which ends them.
        adopt_orphans()

    def run(self) -> None:
        self.send(protocol.READY)
        while True:
            self._receive()
            while self.finished:
                self._call_receivers(self.finished.popleft())
            if self._has_work:
                self._run_next()

    @property
    def _has_work(self) -> bool:
        return bool(self.handover) and not self.retired

    def _receive(self) -> None:
        """Read what has arrived, and wait for it if there is nothing else to do."""
        now = time.monotonic()
        has_work = self._has_work
        if has_work:
            if now - self.read_at < POLL:
                return
        elif not readable([self.channel], IDLE):
            self.runner.rest()
        self.read_at = now
        self._read(wait=not has_work)

    def _read(self, *, wait: bool) -> None:
        for kind, body in self.channel.receive(wait=wait):
            if kind == protocol.RUN:
                self.handover.received(*self.jobs_in(body))
            elif kind == protocol.FINISHED:
                self.finished.append(body)
            elif kind == protocol.PING:
                self.send(protocol.PONG)

    def _call_receivers(self, body: bytes) -> None:
        for announce in self.announcements(body):
            self.runner.call_receivers(self.hooks, announce)
        self.send(protocol.SENT)

    def _run_next(self) -> None:
        try:
            token = os.read(self.tokens, TOKEN_SIZE)
        except BlockingIOError:
            self.handover.found_no_token()
            return
        self.attempt_clock.take_turn(serial_of(token))
        while (job := self.handover.take(token)) is None:
            self._read(wait=True)  # its frame follows the token
        self._run(job)

    def _run(self, job: ClaimedJob) -> None:
        control = AlarmControl(
            self.alarm,
            job.timeout,
            begun=self.attempt_clock.mark_begun,
            is_cancelled=lambda: self.attempt_clock.is_cancelled,
            stop_at=self._stop_at,
        )
        outcome = self.runner.run(job, control, self.hooks)
        self.attempt_clock.mark_over()
        had_descendants = kill_descendants()
        # Interrupted code may have left anything behind: connections, locks, half-made objects. They end
        # with this process; the jobs that it has not started go to another one. The same holds for a task
        # that closed a stream, since the next one that prints would fail, and for one whose module state
        # counts on processes that were killed, as that of ``multiprocessing`` does.
        is_interrupted = control.has_interrupted or outcome.kind is AttemptOutcome.TIMEOUT
        if is_interrupted or had_descendants or self.must_retire:
            self.retired = True
            self.send(protocol.RETIRE)  # before the outcome, so that no other job follows
        self.send_outcome(job, outcome)

    def _stop_at(self) -> float:
        return self.attempt_clock.stop_at

    def send_update(self, update: Note) -> None:
        # The alarm must not raise here: half a frame on the pipe would be the end of this child.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            super().send_update(update)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
