"""A process child: one job at a time, and some in hand.

Jobs are handed over some at a time, to save round trips; the token pipe between the two decides
who has each of them. The child takes a byte before it starts a job, the parent takes a byte to have
one back, and the kernel gives every byte away only once. So a short job never waits behind a long one,
and when a child dies, the bytes it has left are exactly the jobs it had not started.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from contextlib import suppress
from uuid import UUID

from ...execution import endings
from ...lifecycle.outcome import Outcome
from ...storage import ClaimedJob
from ..executor_groups import Group
from .fork_server import Pipes
from .parent_side import HOOK_TIMEOUT, START_TIMEOUT, ParentSide
from .shared_memory import OVER, WAITING, AttemptClock

#: The most jobs a child may hold.
MAX_AHEAD = 200
#: Bytes of answers that a child can be left alone with. A pipe has room for three times as many.
PIPE = 1 << 16
#: Seconds after which the jobs behind a running one are taken back.
PATIENCE = 0.02
#: The same for a child that was handed jobs and began none of them, at the most: it is doubled each time.
LONGEST_TAKE_BACK = 5.0


class ProcessParentSide(ParentSide):
    def __init__(self, key: int, group: Group, pipes: Pipes) -> None:
        super().__init__(key, group, pipes)
        self.attempt_clock = AttemptClock(pipes.memory)
        #: Handed over and not answered, oldest first.
        self.sent: deque[ClaimedJob] = deque()
        #: Whether the oldest of them is known to have been taken by the child.
        self.taken = False
        #: Jobs were taken back, and the child has not said that it noticed.
        self.dropping = False
        #: Seconds that it has to begin the first of the jobs that it is handed next.
        self.patience = PATIENCE
        #: Bytes that were still to leave when the first of its jobs was last seen on its way.
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
    def in_hand(self) -> float:
        if len(self.sent) < 2 or self.dropping or self.channel.has_unsent or not self.accepts:
            return 0.0
        # What it answers has to have room on the pipe until somebody reads it.
        return min(len(self.sent) - 1, PIPE / self.group.size_of_answer) * self.group.pace

    def room(self, now: float) -> int:
        if not self.accepts or self.dropping or self.channel.has_unsent:
            return 0
        if self.unsent and now - self.sending_since > PATIENCE:
            return 0  # receivers take their time
        if self.sent and now - self.since > PATIENCE:
            return 0  # what is handed to it now would only have to be taken back
        return self.limited(min(self.group.ahead, MAX_AHEAD) - len(self.sent))

    def send(self, jobs: list[ClaimedJob]) -> None:
        is_free = not self.sent
        self.sent.extend(jobs)
        # Tokens first: a job whose token is missing counts as taken back.
        os.write(self.pipes.token_writer, b"." * len(jobs))
        self.hand_over(jobs)
        if is_free:
            self._begin()
            self.leaving = self.channel.unsent

    def _begin(self) -> None:
        """From now on the child is free for the oldest of its jobs."""
        self.since = time.monotonic()
        self.taken = False
        self.cancelled_at = self.over_at = None

    def answered(self, outcome: Outcome) -> bool:
        if not self.sent:
            return False  # it was abandoned
        if self.sent[0].id != outcome.job_id or self.sent[0].fence != outcome.fence:
            # It has run what it was not to run. Nothing that it has in hand can be told any more.
            self.condemn("release")
            return False
        self.sent.popleft()
        self.patience = PATIENCE
        self._begin()
        return True

    def has_sent(self) -> None:
        super().has_sent()
        self._begin()

    def take_back(self) -> list[ClaimedJob]:
        try:
            count = len(os.read(self.pipes.token_reader, MAX_AHEAD))
        except BlockingIOError:
            return []
        self.dropping = count > 0
        return list(reversed([self.sent.pop() for _ in range(count)]))

    def abandon(self) -> None:
        self.take_back()
        self.sent.clear()

    def cancel(self, job_id: UUID) -> bool:
        if all(job.id != job_id for job in self.sent):
            return False
        # What has not started goes back to where it can be found.
        self.group.backlog.extendleft(reversed(self.take_back()))
        self.taken = bool(self.sent)  # of those that are left the child has the tokens
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

    @property
    def _patience(self) -> float:
        """Seconds until the jobs that wait for it are taken back."""
        return PATIENCE if self.attempt_clock.began > 0 or self.unsent else self.patience

    @property
    def _waits(self) -> bool:
        """Whether jobs may be waiting for it to be done with something else."""
        return not self.dropping and len(self.sent) > int(self.taken)

    def enforce_jobs(self, now: float) -> list[Outcome]:
        if self.leaving > self.channel.unsent:
            # What has not left cannot have been begun. A child that reads nothing is given no more time.
            self.since, self.leaving = now, self.channel.unsent
        if self._waits and (now - self.since > self._patience or self.is_retiring):
            self.group.backlog.extendleft(reversed(self.take_back()))
            self.taken = bool(self.sent)  # of that one the child has the token
            if not self.sent and not self.unsent:
                # It may have been reading, or waiting for a processor. Handed the same again and again, it
                # would never come to any of them.
                self.patience = min(LONGEST_TAKE_BACK, 2 * self.patience)
        if self.sent:
            if (verdict := self._verdict(now)) is not None:
                self.condemn(verdict)
        elif self._hangs_sending(now):
            self.condemn("hook")
        return []

    def _verdict(self, now: float) -> str | None:
        if self.cancelled_at is not None and now - self.cancelled_at > self.group.settings.grace:
            return "cancel"
        job, began = self.sent[0], self.attempt_clock.began
        if began != OVER:
            self.over_at = None  # what was seen before was the end of the job before
        if began == OVER:
            self.over_at = self.over_at or now
            return "end" if now - self.over_at > START_TIMEOUT else None
        if began == WAITING:
            return "start" if self.taken and now - self.since > START_TIMEOUT else None
        return "timeout" if now - began > self._limit(job) else None

    def _limit(self, job: ClaimedJob) -> float:
        """Seconds of user code after which the child is killed; by itself it ends the job before."""
        return float("inf") if job.timeout is None else job.timeout + self.group.settings.grace

    def jobs_due(self, now: float) -> float:
        due = float("inf")
        if self._waits:
            due = min(due, self._patience - (now - self.since))
        if self.sent:
            if self.cancelled_at is not None:
                due = min(due, self.group.settings.grace - (now - self.cancelled_at))
            began = self.attempt_clock.began
            if began > 0:
                due = min(due, self._limit(self.sent[0]) - (now - began))
            elif began == OVER:
                due = min(due, START_TIMEOUT - (now - (self.over_at or now)))
            else:
                # Its code may begin any moment, and nobody will say so.
                due = min(due, START_TIMEOUT - (now - self.since), self._limit(self.sent[0]))
        elif self.unsent:
            due = min(due, HOOK_TIMEOUT - (now - self.sending_since))
        return due

    def settle(self, status: int) -> list[Outcome]:
        self.group.backlog.extendleft(reversed(self.take_back()))
        outcomes = []
        for job in self.sent:
            began = self.attempt_clock.began
            duration = time.monotonic() - (began if began > 0 else self.since)
            match self.verdict:
                case "timeout":
                    outcome = endings.by_timeout(job, self.group.settings, duration)
                case "cancel":
                    outcome = endings.by_cancellation(job, self.group.settings, duration)
                case "release":
                    outcome = endings.by_stop(job, duration)
                case "start":
                    outcome = self.unbegun(job)
                case _:
                    outcome = self.crashed(job, status, duration)
            outcomes.append(outcome)
        self.sent.clear()
        return outcomes

    def close(self) -> None:
        super().close()
        self.attempt_clock.close()
