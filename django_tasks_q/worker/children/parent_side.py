"""The parent's side of one child, whatever its kind."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING
from uuid import UUID

from ...exceptions import AttemptCrashed
from ...execution import endings
from ...lifecycle.outcome import Outcome
from ...storage import ClaimedJob
from ..system import describe_exit, kill_group
from . import protocol
from .fork_server import Pipes
from .protocol import Channel

if TYPE_CHECKING:
    from ..executor_groups import Group
    from ..subscribers.finished_signals import Ending

#: Seconds between a child's end of its pipe and its exit.
GONE_TIMEOUT = 2.0
#: Seconds a child may take from its fork to its first answer.
BOOT_TIMEOUT = 60.0
#: Seconds between a job's turn and the start of its code; receivers of ``task_started`` come in between.
START_TIMEOUT = 60.0
#: Seconds that receivers of ``task_finished`` may take.
HOOK_TIMEOUT = 60.0


class ParentSide:
    """A child: what it was given, and since when it owes what."""

    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        self.key = key
        self.group = group
        self.pipes = pipes
        self.channel = Channel(pipes.sock, blocking=False)
        self.pid: int | None = None
        self.ready = False
        self.born = self.since = time.monotonic()
        #: Attempts it has ended.
        self.done = 0
        #: When it closed its end of the pipe, if it has.
        self.gone_at: float | None = None
        #: It gets no more jobs, and goes when it has none left.
        self.is_retiring = False
        #: When it was let go, if it has been.
        self.dismissed_at: float | None = None
        #: Why this child is being killed.
        self.verdict = ""
        #: Frames about ended jobs that the child has not dealt with, oldest first.
        self.unsent: deque[list[Ending]] = deque()
        #: Attempts it has ended whose endings are being written.
        self.unconfirmed = 0
        self.sending_since = 0.0

    # Jobs

    @property
    def held(self) -> int:
        """Jobs it was given and has not answered."""
        raise NotImplementedError

    @property
    def expected(self) -> UUID | None:
        """The job that it will answer next, if that can be told."""
        return None

    @property
    def in_hand(self) -> float:
        """Seconds for which it will have something to do, as far as can be told."""
        return 0.0

    def room(self, now: float) -> int:
        """How many more jobs it should be given."""
        raise NotImplementedError

    def send(self, jobs: list[ClaimedJob]) -> None:
        raise NotImplementedError

    def hand_over(self, jobs: list[ClaimedJob]) -> None:
        """Put a frame of jobs on the channel."""
        expires = any(job.expires_at is not None for job in jobs)
        offset = self.group.clock.offset if expires else None
        self.channel.send(protocol.RUN, protocol.pack_jobs(jobs, offset))

    def started(self, job_id: UUID) -> None:
        """The child says that a job's code begins."""

    def answered(self, outcome: Outcome) -> bool:
        """Take an attempt off its list. False if it was not on it: then the answer is void."""
        raise NotImplementedError

    def take_back(self) -> list[ClaimedJob]:
        """Withdraw the jobs that the child has not started."""
        return []

    def abandon(self) -> None:
        """Forget its jobs."""
        raise NotImplementedError

    def cancel(self, job_id: UUID) -> bool:
        """Have a running job ended. False if this child does not run it."""
        raise NotImplementedError

    def limited(self, room: int) -> int:
        """``room`` as far as the child may still go before another takes its place."""
        if self.group.recycling.jobs is not None:
            room = min(room, self.group.recycling.jobs - self.done - self.held)
        return max(0, room)

    @property
    def accepts(self) -> bool:
        """Whether it may be given anything."""
        return self.ready and not self.verdict and not self.is_retiring and self.gone_at is None

    # Time

    def enforce(self, now: float) -> list[Outcome]:
        """Do what is due. Answers endings that the child itself does not tell of any more."""
        if self.verdict:
            return []
        if not self.ready:
            if now - self.born > BOOT_TIMEOUT:
                self.condemn("boot")
        elif self.gone_at is not None:
            # It lives on without its end of the pipe, as after a task that closed all files.
            if now - self.gone_at > GONE_TIMEOUT:
                self.condemn("gone")
        elif self.dismissed_at is not None:
            if now - self.dismissed_at > GONE_TIMEOUT:
                self.condemn("dismissed")
        elif self.is_retiring and not self.held and not self.unconfirmed:
            if not self.unsent:
                self.dismiss(now)
            elif self._hangs_sending(now):
                self.condemn("hook")
        else:
            return self.enforce_jobs(now)
        return []

    def enforce_jobs(self, now: float) -> list[Outcome]:
        """The same for a child that is at work."""
        raise NotImplementedError

    def due(self, now: float) -> float:
        """Seconds until something is, as far as it can be known."""
        if self.verdict:
            return float("inf")  # its exit is told by the server
        if not self.ready:
            return BOOT_TIMEOUT - (now - self.born)
        for moment in (self.gone_at, self.dismissed_at):
            if moment is not None:
                return GONE_TIMEOUT - (now - moment)
        if self.is_retiring and not self.held:
            if self.unconfirmed:
                return float("inf")
            return HOOK_TIMEOUT - (now - self.sending_since) if self.unsent else 0.0
        return self.jobs_due(now)

    def _hangs_sending(self, now: float) -> bool:
        return bool(self.unsent) and now - self.sending_since > HOOK_TIMEOUT

    def jobs_due(self, now: float) -> float:
        """The same for its jobs."""
        raise NotImplementedError

    # Its end

    def retire(self) -> None:
        """Give it no more jobs; another child takes its place."""
        self.is_retiring = True

    def dismiss(self, now: float) -> None:
        """Let it leave once it has read what was sent to it."""
        self.is_retiring = True
        self.dismissed_at = now
        self.channel.finish()

    def condemn(self, verdict: str) -> None:
        """Kill it. Its exit will be told by the fork server, and settled under this verdict."""
        if self.pid is not None:
            self.verdict = verdict
            kill_group(self.pid)

    def settle(self, status: int) -> list[Outcome]:
        """The child has exited: the endings of what it was running."""
        raise NotImplementedError

    def unbegun(self, job: ClaimedJob) -> Outcome:
        """The code of a job did not begin in time. It is given back, but not for ever."""
        error = AttemptCrashed(f"Its code did not begin within {START_TIMEOUT:g} seconds")
        return endings.by_crash(job, self.group.settings, error)

    def crashed(self, job: ClaimedJob, status: int, duration: float | None) -> Outcome:
        error = AttemptCrashed(describe_exit(status))
        exit_status = os.waitstatus_to_exitcode(status)
        return endings.by_crash(job, self.group.settings, error, duration, exit_status)

    def tell(self, frame: list[Ending]) -> None:
        """Have it call the receivers of ``task_finished`` for jobs that have ended."""
        if not self.unsent:
            self.sending_since = time.monotonic()
        self.unsent.append(frame)
        records = ((ending.job_id, ending.won, ending.status) for ending in frame)
        self.channel.send(protocol.ENDED, protocol.pack(records))

    def has_sent(self) -> None:
        """It has called them for the oldest frame."""
        if self.unsent:
            self.unsent.popleft()
        self.sending_since = time.monotonic()

    def close(self) -> None:
        self.channel.close()
        self.pipes.close()
