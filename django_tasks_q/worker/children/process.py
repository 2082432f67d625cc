"""Process children, which run one job at a time: the supervisor's end of the pipe, and the child's.

Several jobs are sent at once, to save round trips; the token pipe between the two ends decides who has each
of them. The child takes a byte before it starts a job, the supervisor takes a byte to have one back, and the
kernel hands out every byte only once. So a short job never waits behind a long one, and when a child dies,
the bytes that it has left are exactly the jobs that it had not started.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from django.db import close_old_connections

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

    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        super().__init__(key, group, pipes)
        self.attempt_clock = AttemptClock(pipes.memory)
        #: Jobs that were sent and have not ended, oldest first.
        self.sent: deque[ClaimedJob] = deque()
        #: Whether the child is known to have taken the oldest of them.
        self.taken = False
        #: Whether jobs were taken back and the child has not noticed yet.
        self.dropping = False
        #: Seconds that it has to begin the first of the jobs that it is sent next.
        self.take_back_after = TAKE_BACK_AFTER
        #: Bytes that had not left when the first of its jobs was last seen on its way.
        self.leaving = 0
        #: When the job that it runs was cancelled.
        self.cancelled_at: float | None = None
        #: When its user code was first seen to be over.
        self.over_at: float | None = None

    @property
    def held(self) -> int:
        return len(self.sent)

    @property
    def expected(self) -> UUID | None:
        return self.sent[0].id if self.sent else None

    @property
    def seconds_of_work(self) -> float:
        if len(self.sent) < 2 or self.dropping or self.channel.has_unsent or not self.accepts:
            return 0.0
        # The outcomes need room on the pipe until they are read.
        return min(len(self.sent) - 1, PIPE / self.group.usual_result_size) * self.group.pace

    def room(self, now: float) -> int:
        if not self.accepts or self.dropping or self.channel.has_unsent:
            return 0
        if self.unsent and now - self.sending_since > TAKE_BACK_AFTER:
            return 0  # receivers take long
        if self.sent and now - self.since > TAKE_BACK_AFTER:
            return 0  # a job that is sent now would only have to be taken back
        return self.limited(min(self.group.ahead, MAX_AHEAD) - len(self.sent))

    def send(self, jobs: list[ClaimedJob]) -> None:
        is_free = not self.sent
        self.sent.extend(jobs)
        # Tokens first: a job whose token is missing counts as taken back.
        os.write(self.pipes.token_writer, b"." * len(jobs))
        self.send_frame(jobs)
        if is_free:
            self._next_begins()
            self.leaving = self.channel.unsent

    def _next_begins(self) -> None:
        """From now on the child is free for the oldest of its jobs."""
        self.since = time.monotonic()
        self.taken = False
        self.cancelled_at = self.over_at = None

    def remove(self, outcome: Outcome) -> bool:
        if not self.sent:
            return False  # the jobs were forgotten
        if self.sent[0].id != outcome.job_id or self.sent[0].fence != outcome.fence:
            # It has run a job that it does not hold. Nothing is known about its other jobs any more.
            self.kill("release")
            return False
        self.sent.popleft()
        self.take_back_after = TAKE_BACK_AFTER
        self._next_begins()
        return True

    def dropped(self) -> None:
        self.dropping = False

    def has_sent(self) -> None:
        super().has_sent()
        self._next_begins()

    def take_back(self) -> list[ClaimedJob]:
        try:
            count = len(os.read(self.pipes.token_reader, MAX_AHEAD))
        except BlockingIOError:
            return []
        self.dropping = True
        # It follows all frames of these jobs, those that the child has not read yet included.
        self.channel.send(protocol.WITHDRAWN)
        return list(reversed([self.sent.pop() for _ in range(count)]))

    def forget(self) -> None:
        self.take_back()
        self.sent.clear()

    def cancel(self, job_id: UUID) -> bool:
        if all(job.id != job_id for job in self.sent):
            return False
        # A job that has not started goes back to the backlog, where the pool finds it.
        self.group.put_back(self.take_back())
        self.taken = bool(self.sent)  # the child has the tokens of those that are left
        job = next((job for job in self.sent if job.id == job_id), None)
        if job is None:
            return False
        if self.cancelled_at is None and self.pid is not None:
            if job is self.sent[0]:
                self.cancelled_at = time.monotonic()
            self.attempt_clock.cancel(job_id, job.fence)
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
        return TAKE_BACK_AFTER if self.attempt_clock.began > 0 or self.unsent else self.take_back_after

    @property
    def _has_waiting(self) -> bool:
        """Whether jobs may be waiting until the child is done with something else."""
        return not self.dropping and len(self.sent) > int(self.taken)

    def enforce_jobs(self, now: float) -> list[Outcome]:
        if self.leaving > self.channel.unsent:
            # What has not left cannot have begun. A child that reads nothing is given no more time.
            self.since, self.leaving = now, self.channel.unsent
        if self._has_waiting and (now - self.since > self._take_back_after or self.is_retiring):
            self.group.put_back(self.take_back())
            self.taken = bool(self.sent)  # the child has the token of that one
            if not self.sent and not self.unsent:
                # It may have been reading, or waiting for a processor. If it were sent the same jobs again
                # and again, it would never begin any of them.
                self.take_back_after = min(LONGEST_TAKE_BACK, 2 * self.take_back_after)
        if self.sent:
            if (reason := self._kill_reason(now)) is not None:
                self.kill(reason)
        elif self._hangs_sending(now):
            self.kill("hook")
        return []

    def _kill_reason(self, now: float) -> str | None:
        if self.cancelled_at is not None and now - self.cancelled_at > self.group.settings.grace:
            return "cancel"
        job, began = self.sent[0], self.attempt_clock.began
        if began != OVER:
            self.over_at = None  # an end that was seen before was that of an earlier job
        if began == OVER:
            self.over_at = self.over_at or now
            return "end" if now - self.over_at > START_TIMEOUT else None
        if began == WAITING:
            return "start" if self.taken and now - self.since > START_TIMEOUT else None
        return "timeout" if now - began > self._limit(job) else None

    def _limit(self, job: ClaimedJob) -> float:
        """Seconds of user code after which the child is killed; it ends the job itself before that."""
        return float("inf") if job.timeout is None else job.timeout + self.group.settings.grace

    def jobs_due(self, now: float) -> float:
        due = float("inf")
        if self._has_waiting:
            due = min(due, self._take_back_after - (now - self.since))
        if self.sent:
            if self.cancelled_at is not None:
                due = min(due, self.group.settings.grace - (now - self.cancelled_at))
            began = self.attempt_clock.began
            if began > 0:
                due = min(due, self._limit(self.sent[0]) - (now - began))
            elif began == OVER:
                due = min(due, START_TIMEOUT - (now - (self.over_at or now)))
            else:
                # Its code may begin at any moment, and no message says so.
                due = min(due, START_TIMEOUT - (now - self.since), self._limit(self.sent[0]))
        elif self.unsent:
            due = min(due, HOOK_TIMEOUT - (now - self.sending_since))
        return due

    def end_attempts(self, status: int) -> list[Outcome]:
        self.group.put_back(self.take_back())
        outcomes = []
        for job in self.sent:
            began = self.attempt_clock.began
            duration = time.monotonic() - (began if began > 0 else self.since)
            match self.kill_reason:
                case "timeout":
                    outcome = endings.by_timeout(job, self.group.settings, duration)
                case "cancel":
                    outcome = endings.by_cancellation(job, self.group.settings, duration)
                case "release":
                    outcome = endings.by_stop(job, duration)
                case "start":
                    outcome = self.not_started(job)
                case _:
                    outcome = self.crashed(job, status, duration)
            outcomes.append(outcome)
        self.sent.clear()
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
        self.queue: deque[ClaimedJob] = deque()
        #: Whether the supervisor has taken all queued jobs back, and its frame about that is on its way.
        self.is_waiting = False
        self.read_at = 0.0
        #: Whether it runs no more jobs, and ends when the supervisor has no more receivers for it to call.
        self.retired = False
        # Processes that tasks leave behind become children of this process, which ends them.
        adopt_orphans()

    def run(self) -> None:
        self.send(protocol.READY)
        while True:
            self._receive()
            if self._has_work:
                self._run_next()

    @property
    def _has_work(self) -> bool:
        return bool(self.queue) and not self.is_waiting and not self.retired

    def _receive(self) -> None:
        now = time.monotonic()
        has_work = self._has_work
        if has_work:
            if now - self.read_at < POLL:
                return
        elif not readable([self.channel], IDLE):
            close_old_connections()
        self.read_at = now
        for kind, body in self.channel.receive(wait=not has_work):
            if kind == protocol.RUN:
                self.queue.extend(self.jobs_in(body))
            elif kind == protocol.WITHDRAWN:
                self.queue.clear()
                self.is_waiting = False
                self.send(protocol.DROPPED)
            elif kind == protocol.FINISHED:
                for announce in self.announcements(body):
                    self.runner.call_receivers(self.hooks, announce)
                self.send(protocol.SENT)

    def _run_next(self) -> None:
        self.attempt_clock.mark_waiting()
        try:
            os.read(self.tokens, 1)
        except BlockingIOError:
            # The supervisor has taken back all that are queued. More of them may be in frames that have not
            # arrived: none may start with the token of a later job.
            self.is_waiting = True
            return
        job = self.queue.popleft()
        control = AlarmControl(
            self.alarm,
            job.timeout,
            begun=self.attempt_clock.mark_begun,
            is_cancelled=lambda: self.attempt_clock.is_cancelled(job.id, job.fence),
            stop_at=self._stop_at,
        )
        outcome = self.runner.run(job, control, self.hooks)
        self.attempt_clock.mark_over()
        kill_descendants()
        # Interrupted code may have left anything behind: connections, locks, half-made objects. They end
        # with this process; the jobs that it has not started go to another one. The same holds for a task
        # that closed a stream, since the next one that prints would fail.
        is_interrupted = control.has_interrupted or outcome.kind is AttemptOutcome.TIMEOUT
        if is_interrupted or self.streams.are_closed:
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
