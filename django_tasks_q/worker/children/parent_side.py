"""The base class of the supervisor's ends of the pipes to its children."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from typing import NamedTuple
from uuid import UUID

from ...exceptions import AttemptCrashed
from ...execution import endings
from ...lifecycle.outcome import Outcome
from ...loggers import robust_logger
from ...storage import ClaimedJob
from ..executor_groups import Group
from ..system import describe_exit, kill_group
from . import protocol
from .exits import EXIT_TIMEOUT
from .fork_server import Pipes
from .handover import Offer, ParentHandover, ProtocolViolation
from .protocol import Channel

logger = robust_logger("django_tasks_q.worker")

#: Seconds between a child's end of its pipe and its exit.
GONE_TIMEOUT = 2.0
#: Seconds between the dismissal of a child and its exit.
LEAVE_TIMEOUT = EXIT_TIMEOUT + GONE_TIMEOUT
#: Seconds from a kill to the report of the exit. A process that is being killed runs no Python code any
#: more, but may be held up by the kernel.
KILL_TIMEOUT = 10.0
#: Seconds that a child may take from its fork until it is ready.
BOOT_TIMEOUT = 60.0
#: Seconds between a job's turn and the start of its code; receivers of ``task_started`` run in between.
START_TIMEOUT = 60.0
#: Seconds that receivers of ``task_finished`` may take.
HOOK_TIMEOUT = 60.0


class FinishedJob(NamedTuple):
    """A job of whose end, or end of an attempt, receivers are to be informed."""

    job_id: str
    #: Whether the outcome of the attempt was written.
    won: bool
    status: str = ""
    #: Children that died while they ran nothing but receivers for it.
    died: int = 0
    #: The kind of the attempt's outcome; empty if the job has ended without an attempt.
    kind: str = ""


class ParentSide:
    """The supervisor's end of the pipe: the jobs that the child holds, and the deadlines of each step."""

    #: Whether the child runs its jobs one after the other, by tokens: see ``handover``.
    in_order = False

    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        self.key = key
        self.group = group
        self.pipes = pipes
        self.channel = Channel(pipes.sock, blocking=False)
        #: The jobs that the child holds.
        self.handover = ParentHandover(in_order=self.in_order)
        self.pid: int | None = None
        self.ready = False
        self.born = self.since = time.monotonic()
        #: Attempts that it has ended.
        self.done = 0
        #: When it closed its end of the pipe, if it has.
        self.gone_at: float | None = None
        #: Whether it gets no more jobs, and leaves when it holds none.
        self.is_retiring = False
        #: When it was dismissed, if it has been.
        self.dismissed_at: float | None = None
        #: Why this child is being killed; empty if it is not.
        self.kill_reason = ""
        self.killed_at = float("inf")
        #: Frames of finished jobs whose receivers the child has not called yet, oldest first.
        self.unsent: deque[list[FinishedJob]] = deque()
        #: Attempts that it has ended whose endings are being written.
        self.unconfirmed = 0
        self.sending_since = 0.0

    # What the child reports

    def spawned(self, pid: int) -> None:
        """The child has been forked."""
        self.pid = pid

    def booted(self) -> bool:
        """The child is ready. Return whether its executor was broken before."""
        self.ready = True
        self.since = time.monotonic()
        return self.group.starts.succeeded()

    def started(self, job_id: UUID, fence: int) -> None:
        """The code of a job has begun."""
        self.handover.began(job_id, fence, time.monotonic())

    def ended(self, outcome: Outcome, size: int) -> bool:
        """An attempt has ended, reported in ``size`` bytes. Return False if the child did not hold it."""
        try:
            offer = self.handover.ended(outcome.job_id, outcome.fence)
        except ProtocolViolation as error:
            logger.error("Child process %s is killed: %s", self.pid, error)
            self.kill("release")
            return False
        if offer is None:
            return False  # it was given up, or belongs to another worker
        self.has_ended(offer)
        self.done += 1
        self.group.learn(outcome.duration or 0.0, size)
        if self.group.recycling.is_due(jobs=self.done, born=self.born, pid=self.pid):
            self.retire()
        return True

    def has_ended(self, offer: Offer) -> None:
        """Adapt to the end of an attempt."""

    def responded(self) -> None:
        """The child has replied that it is at work."""

    def closed_pipe(self) -> None:
        """The child has closed its end of the pipe."""
        if self.gone_at is None:
            self.gone_at = time.monotonic()

    def excuse(self, reason: str = "release") -> None:
        """It was killed for that reason, and for no fault that is known, unless there was a reason before."""
        self.kill_reason = self.kill_reason or reason

    # Jobs

    @property
    def held(self) -> int:
        """Jobs that it was sent and that have not ended."""
        return len(self.handover)

    @property
    def seconds_of_work(self) -> float:
        """Seconds for which it has jobs, as far as that can be estimated."""
        return 0.0

    def room(self, now: float) -> int:
        """Return how many more jobs it should be sent."""
        raise NotImplementedError

    def places(self, now: float) -> int:
        """Return how many jobs it would begin at once if it were sent them."""
        return self.room(now)

    def send(self, jobs: list[ClaimedJob]) -> None:
        """Send it jobs."""
        raise NotImplementedError

    def send_frame(self, jobs: list[ClaimedJob], first: int) -> None:
        """Put a frame of jobs on the channel, of which the first has this serial number."""
        expires = any(job.expires_at is not None for job in jobs)
        offset = self.group.clock.offset if expires else None
        self.channel.send(protocol.RUN, protocol.pack_jobs(jobs, first, offset))

    def take_back(self) -> list[ClaimedJob]:
        """Remove the jobs that the child has not started, and return them."""
        return []

    def forget(self) -> None:
        """Drop its jobs, which belong to other workers."""
        self.handover.clear()

    def cancel(self, job_id: UUID) -> bool:
        """Interrupt a running job. Return False if this child does not run it."""
        raise NotImplementedError

    def stop(self, at: float) -> None:
        """The worker is stopping: its tasks are to be interrupted at a time on ``time.monotonic()``."""
        self.channel.send(protocol.STOP, repr(at).encode())

    def limited(self, room: int) -> int:
        """Return ``room`` as far as the child may go before another takes its place."""
        if self.group.recycling.jobs is not None:
            room = min(room, self.group.recycling.jobs - self.done - self.held)
        return max(0, room)

    @property
    def accepts(self) -> bool:
        """Whether it may be sent anything."""
        return self.ready and not self.kill_reason and not self.is_retiring and self.gone_at is None

    # Deadlines

    def is_overdue(self, now: float) -> bool:
        """Return whether it was killed, and the fork server has not reported its exit in time."""
        return now - self.killed_at > KILL_TIMEOUT

    def is_unanswered(self, now: float) -> bool:
        """Return whether the fork server has not forked it in time, and not refused to."""
        return self.pid is None and now - self.born > BOOT_TIMEOUT

    def enforce(self, now: float) -> list[Outcome]:
        """Do what is due. Return the outcomes of attempts that the child will not report any more."""
        if self.kill_reason:
            return []
        if not self.ready:
            if now - self.born > BOOT_TIMEOUT:
                self.kill("boot")
        elif self.gone_at is not None:
            # It lives on without its end of the pipe, as after a task that closed all files.
            if now - self.gone_at > GONE_TIMEOUT:
                self.kill("gone")
        elif self.dismissed_at is not None:
            if now - self.dismissed_at > LEAVE_TIMEOUT:
                self.kill("dismissed")
        elif self.is_retiring and not self.held and not self.unconfirmed:
            if not self.unsent:
                self.dismiss(now)
            elif self._hangs_sending(now):
                self.kill("hook")
        else:
            return self.enforce_jobs(now)
        return []

    def enforce_jobs(self, now: float) -> list[Outcome]:
        """Do what is due for the jobs of a child that is at work."""
        raise NotImplementedError

    def due(self, now: float) -> float:
        """Return the seconds until ``enforce`` has something to do, as far as that is known."""
        if self.kill_reason:
            return KILL_TIMEOUT - (now - self.killed_at)  # the fork server reports its exit
        if not self.ready:
            return BOOT_TIMEOUT - (now - self.born)
        for moment, limit in ((self.gone_at, GONE_TIMEOUT), (self.dismissed_at, LEAVE_TIMEOUT)):
            if moment is not None:
                return limit - (now - moment)
        if self.is_retiring and not self.held:
            if self.unconfirmed:
                return float("inf")
            return HOOK_TIMEOUT - (now - self.sending_since) if self.unsent else 0.0
        return self.jobs_due(now)

    def jobs_due(self, now: float) -> float:
        """Return the seconds until ``enforce_jobs`` has something to do."""
        raise NotImplementedError

    def _hangs_sending(self, now: float) -> bool:
        return bool(self.unsent) and now - self.sending_since > HOOK_TIMEOUT

    # Finished signals

    def expect_confirmation(self) -> None:
        """An ending that its receivers wait for is being written."""
        self.unconfirmed += 1

    def confirmed(self) -> None:
        """Such an ending has been written, or another worker's has."""
        self.unconfirmed -= 1

    def forget_confirmations(self) -> None:
        """Endings that are being written belong to other workers."""
        self.unconfirmed = 0

    def send_finished(self, frame: list[FinishedJob]) -> None:
        """Make it call the receivers of ``task_finished`` for finished jobs."""
        if not self.unsent:
            self.sending_since = time.monotonic()
        self.unsent.append(frame)
        records = ((finished.job_id, finished.won, finished.status, finished.kind) for finished in frame)
        self.channel.send(protocol.FINISHED, protocol.pack(records))

    def has_sent(self) -> None:
        """The child has called the receivers for the oldest frame."""
        if self.unsent:
            self.unsent.popleft()
        self.sending_since = time.monotonic()

    # The end of the child

    def retire(self) -> None:
        """Send it no more jobs; another child takes its place."""
        self.is_retiring = True

    def dismiss(self, now: float) -> None:
        """Let it exit once it has read what was sent to it."""
        self.is_retiring = True
        self.dismissed_at = now
        self.channel.finish()

    def kill(self, reason: str) -> None:
        """Kill it. Its attempts end for this reason once the fork server has reported its exit."""
        if self.pid is not None:
            self.kill_reason, self.killed_at = reason, time.monotonic()
            kill_group(self.pid)

    def end_attempts(self, status: int) -> list[Outcome]:
        """Return the outcomes of the attempts that it was running when it exited with a wait status."""
        raise NotImplementedError

    def not_started(self, job: ClaimedJob) -> Outcome:
        """Return the outcome of an attempt whose code did not begin in time."""
        error = AttemptCrashed(f"Its code did not begin within {START_TIMEOUT:g} seconds")
        return endings.by_crash(job, self.group.settings, error, has_begun=False)

    def crashed(self, job: ClaimedJob, status: int, duration: float | None, *, has_begun: bool) -> Outcome:
        """Return the outcome of an attempt whose process exited."""
        is_unexplained = os.waitstatus_to_exitcode(status) == -signal.SIGKILL and not self.kill_reason
        reason = self.group.memory_kills.reason() if is_unexplained else describe_exit(status)
        error = AttemptCrashed(reason)
        exit_status = os.waitstatus_to_exitcode(status)
        return endings.by_crash(job, self.group.settings, error, duration, exit_status, has_begun=has_begun)

    def close(self) -> None:
        """Close the supervisor's ends of its pipes."""
        self.channel.close()
        self.pipes.close()
