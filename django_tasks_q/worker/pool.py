"""The parent's side of its children: feeding them, timing them, and telling how they ended.

Jobs are handed to a child some at a time, to save round trips; the token pipe between the two decides
who has each of them. The child takes a byte before it starts a job, the parent takes a byte to have
one back, and the kernel gives every byte away only once. So a short job never waits behind a long one,
and when a child dies, the bytes it has left are exactly the jobs it had not started.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from ..conf import Options
from ..execution import endings
from ..outcomes import Outcome
from ..storage import ClaimedJob
from . import protocol
from .forkserver import ForkServer, Pipes
from .protocol import Channel
from .system import describe_exit, kill_group

logger = logging.getLogger("django_tasks_q.worker")

#: Seconds of work a child may hold in advance, and the most jobs that is taken to be.
AHEAD_SECONDS = 0.05
MAX_AHEAD = 64
#: Seconds after which the jobs behind a running one are taken back.
PATIENCE = 0.02
#: Seconds that receivers of a signal may take.
HOOK_TIMEOUT = 60.0
#: Seconds between a child's end of its pipe and its exit.
GONE_PATIENCE = 2.0
#: Seconds a child may take from its fork to its first answer.
BOOT_TIMEOUT = 60.0
#: Children in a row that may die before their first answer.
MAX_BOOT_FAILURES = 5


class Ending(NamedTuple):
    """What receivers of ``task_finished`` are to hear of."""

    job_id: str
    #: Whether the outcome is the one its attempt had.
    won: bool
    #: Children that died when nothing but telling this was under way.
    died: int = 0


class PoolBroken(Exception):
    """No child can be had."""


@dataclass
class ChildHandle:
    key: int
    channel: Channel
    pipes: Pipes
    pid: int | None = None
    ready: bool = False
    #: Handed over and not answered, oldest first.
    sent: deque[ClaimedJob] = field(default_factory=deque)
    #: When the oldest of them could start, or the child did.
    since: float = 0.0
    #: Whether the oldest of them is known to have started.
    started: bool = False
    #: When it closed its end of the pipe, if it has.
    gone_at: float | None = None
    #: Jobs were taken back, and the child has not said that it noticed.
    dropping: bool = False
    #: Frames about ended jobs that the child has not dealt with, oldest first.
    untold: deque[list[Ending]] = field(default_factory=deque)
    #: Why this child is being killed.
    verdict: str = ""

    def take_back(self) -> list[ClaimedJob]:
        """Withdraw the jobs that the child has not started."""
        try:
            count = len(os.read(self.pipes.token_reader, MAX_AHEAD))
        except BlockingIOError:
            return []
        self.dropping = count > 0
        return list(reversed([self.sent.pop() for _ in range(count)]))

    def begin(self) -> None:
        """From now on the child is free for the oldest of its jobs."""
        self.since = time.monotonic()
        self.started = False

    def waits(self) -> bool:
        """Whether jobs of this child may be waiting for it to be done with something else."""
        return not (self.dropping or self.verdict) and len(self.sent) > int(self.started)

    def close(self) -> None:
        self.channel.close()
        os.close(self.pipes.token_reader)
        os.close(self.pipes.token_writer)


class Pool:
    """A fixed number of process children."""

    def __init__(
        self, server: ForkServer, size: int, settings: Options, child_config: dict[str, str]
    ) -> None:
        self.server = server
        self.size = size
        self.settings = settings
        self.child_config = child_config
        self.children: dict[int, ChildHandle] = {}
        #: Claimed jobs that no child has.
        self.backlog: deque[ClaimedJob] = deque()
        self._keys = 0
        self._boot_failures = 0
        self._usual = AHEAD_SECONDS  # seconds that recent jobs took
        self._ends_of: dict[UUID, int] = {}  # which child ran a job that is being written
        #: Ended jobs whose own child is gone and that no other has been told of.
        self.untold: list[Ending] = []

    # Children

    def fill(self, worker_id: UUID) -> None:
        """Start children until there are as many as there should be. Raises PoolBroken."""
        if self._boot_failures >= MAX_BOOT_FAILURES:
            raise PoolBroken(f"{MAX_BOOT_FAILURES} child processes in a row died while they started.")
        while len(self.children) < self.size:
            self._keys += 1
            pipes = self.server.spawn(self._keys, {**self.child_config, "worker_id": str(worker_id)})
            channel = Channel(pipes.sock, blocking=False)
            self.children[self._keys] = ChildHandle(self._keys, channel, pipes, since=time.monotonic())

    def channels(self) -> Iterator[tuple[Channel, bool]]:
        """Every channel to wait for, and whether it also has something to send."""
        yield self.server.channel, self.server.channel.has_unsent
        for child in self.children.values():
            if child.gone_at is None:
                yield child.channel, child.channel.has_unsent

    # Jobs

    @property
    def held(self) -> int:
        """Claimed jobs that have no outcome yet."""
        return len(self.backlog) + sum(len(child.sent) for child in self.children.values())

    @property
    def room(self) -> int:
        """How many more jobs could start soon enough to be worth claiming now."""
        now = time.monotonic()
        return max(0, sum(self._room_in(child, now) for child in self.children.values()) - len(self.backlog))

    def _room_in(self, child: ChildHandle, now: float) -> int:
        if not child.ready or child.dropping or child.verdict or child.gone_at is not None:
            return 0
        if child.sent and now - child.since > PATIENCE:
            return 0  # what is handed to it now would only have to be taken back
        return max(0, self._ahead - len(child.sent))

    def _learn(self, duration: float) -> None:
        # Quick to believe that jobs are long, slow to believe that they are short: a job too many in
        # hand looks like running to everybody else.
        weight = 0.5 if duration > self._usual else 0.05
        self._usual += weight * (duration - self._usual)

    @property
    def _ahead(self) -> int:
        return max(1, min(MAX_AHEAD, int(AHEAD_SECONDS / max(self._usual, 1e-4))))

    def feed(self) -> int:
        """Hand the backlog to the children that have the least to do. Answers how many jobs went."""
        before = len(self.backlog)
        if not before:
            return 0
        now = time.monotonic()
        rooms = [(self._room_in(child, now), child) for child in self.children.values()]
        takers = sorted(((room, child) for room, child in rooms if room), key=lambda taker: -taker[0])
        for index, (room, child) in enumerate(takers):
            share = -(-len(self.backlog) // (len(takers) - index))
            count = min(share, room, len(self.backlog))
            if count:
                self._send(child, [self.backlog.popleft() for _ in range(count)])
        return before - len(self.backlog)

    def _send(self, child: ChildHandle, jobs: list[ClaimedJob]) -> None:
        if not child.sent:
            child.begin()
        child.sent.extend(jobs)
        # Tokens first: a job whose token is missing counts as taken back.
        os.write(child.pipes.token_writer, b"." * len(jobs))
        child.channel.send(protocol.RUN, protocol.pack_jobs(jobs))

    def receive(self) -> list[Outcome]:
        """Take in what children and server say, enforce the deadlines, and answer the attempts that ended."""
        outcomes: list[Outcome] = []
        for child in list(self.children.values()):
            child.channel.flush()
            outcomes += self._answers(child)
        for kind, body in self._server_frames():
            key, value = json.loads(body)
            child_or_none = self.children.get(key)
            if child_or_none is None:
                continue
            if kind == protocol.SPAWNED:
                child_or_none.pid = value
            else:
                outcomes += self._bury(child_or_none, value)
        now = time.monotonic()
        for child in self.children.values():
            self._enforce(child, now)
        return outcomes

    def _server_frames(self) -> list[tuple[bytes, bytes]]:
        self.server.channel.flush()
        try:
            return list(self.server.channel.receive())
        except EOFError:
            raise PoolBroken("The process that starts children is gone.") from None

    def _answers(self, child: ChildHandle) -> list[Outcome]:
        outcomes = []
        try:
            for kind, body in child.channel.receive():
                if kind == protocol.READY:
                    child.ready = True
                    self._boot_failures = 0
                elif kind == protocol.DROPPED:
                    child.dropping = False
                elif kind == protocol.TOLD:
                    child.untold.popleft()
                    child.begin()
                elif kind == protocol.OUTCOME and child.sent:  # else the job was abandoned
                    outcome = protocol.unpack_outcome(body)
                    child.sent.popleft()
                    child.begin()
                    self._learn(outcome.duration or 0.0)
                    self._ends_of[outcome.job_id] = child.key
                    outcomes.append(outcome)
        except EOFError:
            if child.gone_at is None:
                child.gone_at = time.monotonic()
        return outcomes

    def _enforce(self, child: ChildHandle, now: float) -> None:
        if child.verdict:
            return
        elapsed = now - child.since
        if not child.ready:
            if elapsed > BOOT_TIMEOUT:
                self._condemn(child, "boot")
            return
        if child.gone_at is not None:
            # It lives on without its end of the pipe, as after a task that closed all files.
            if now - child.gone_at > GONE_PATIENCE:
                self._condemn(child, "gone")
            return
        if child.waits() and elapsed > PATIENCE:
            self.backlog.extendleft(reversed(child.take_back()))
            child.started = bool(child.sent)  # of that one the child has the token
        if child.sent:
            if elapsed > self._limit(child.sent[0]):
                self._condemn(child, "timeout")
        elif (child.untold or child.dropping) and elapsed > HOOK_TIMEOUT:
            self._condemn(child, "hook")

    def _limit(self, job: ClaimedJob) -> float:
        """Seconds after which the child of a job is killed; by itself it ends the job before."""
        return float("inf") if job.timeout is None else job.timeout + self.settings.grace

    def _condemn(self, child: ChildHandle, verdict: str) -> None:
        if child.pid is not None:
            child.verdict = verdict
            kill_group(child.pid)

    def _bury(self, child: ChildHandle, status: int) -> list[Outcome]:
        """A child has exited: settle the job it was running, keep the ones it had not started."""
        outcomes = self._answers(child)
        if not child.ready and child.verdict in ("", "boot"):
            self._boot_failures += 1
        self.backlog.extendleft(reversed(child.take_back()))
        for job in child.sent:
            duration = time.monotonic() - child.since
            if child.verdict == "timeout":
                outcomes.append(endings.by_timeout(job, self.settings, duration))
            elif child.verdict == "release":
                outcomes.append(Outcome.released(job.id, job.fence, duration))
            else:
                outcomes.append(endings.by_crash(job, self.settings, describe_exit(status), duration))
        self._inherit(child)
        child.close()
        del self.children[child.key]
        return outcomes

    def _inherit(self, child: ChildHandle) -> None:
        """What a dead child may not have told, another will, unless that is what children die of."""
        suspect = child.untold[0] if child.untold and not child.sent else []
        for frame in child.untold:
            for ending in frame:
                died = ending.died + (frame is suspect)
                if died < 2:
                    self.untold.append(ending._replace(died=died))
                else:
                    logger.error("Receivers of task_finished end their process: job id=%s", ending.job_id)

    # After the write

    def confirm(self, outcomes: list[Outcome], won: set[UUID]) -> None:
        """Tell the children which of the final outcomes stand, so that ``task_finished`` can be sent."""
        frames: dict[int, list[Ending]] = {}
        for outcome in outcomes:
            key = self._ends_of.pop(outcome.job_id, None)
            if outcome.failure is not None and outcome.failure.code == endings.RESULT_UNSTORABLE:
                key = None  # the child may know of a success that the database refused
            if outcome.is_final:
                ending = Ending(str(outcome.job_id), outcome.job_id in won)
                if key in self.children:
                    frames.setdefault(key, []).append(ending)
                else:
                    self.untold.append(ending)
        for key, endings_ in frames.items():
            self._tell(self.children[key], endings_)
        self.tell()

    def tell(self) -> None:
        """Have a child tell of the jobs whose own child is gone."""
        able = [child for child in self.children.values() if child.ready and not child.verdict]
        if self.untold and able:
            self._tell(min(able, key=lambda child: len(child.sent)), self.untold)
            self.untold = []

    def _tell(self, child: ChildHandle, endings_: list[Ending]) -> None:
        if not child.sent:
            child.begin()
        child.untold.append(endings_)
        records = (([ending.job_id, ending.won], None) for ending in endings_)
        child.channel.send(protocol.ENDED, protocol.pack(records))

    # Stopping

    def withdraw(self) -> list[ClaimedJob]:
        """Take back every job that has not started."""
        jobs = list(self.backlog)
        self.backlog.clear()
        for child in self.children.values():
            jobs += child.take_back()
        return jobs

    def kill(self) -> None:
        """Kill every child; the jobs they run are given back once their exits are received."""
        for child in self.children.values():
            self._condemn(child, "release")

    def abandon(self) -> None:
        """Kill every child and forget their jobs: this worker's claim on them is over."""
        self.backlog.clear()
        self._ends_of.clear()
        for child in self.children.values():
            self._condemn(child, "release")
            child.take_back()
            child.sent.clear()

    def dismiss(self) -> None:
        """Let every child leave once it has read what was sent to it."""
        for child in self.children.values():
            child.channel.finish()

    def deadline(self) -> float:
        """Seconds until something here is due."""
        now, due = time.monotonic(), 3600.0
        for child in self.children.values():
            if child.verdict:
                continue  # its exit is told by the server
            elapsed = now - child.since
            if not child.ready:
                due = min(due, BOOT_TIMEOUT - elapsed)
                continue
            if child.gone_at is not None:
                due = min(due, GONE_PATIENCE - (now - child.gone_at))
            elif child.waits():
                due = min(due, PATIENCE - elapsed)
            if child.sent:
                due = min(due, self._limit(child.sent[0]) - elapsed)
        return max(0.0, due)
