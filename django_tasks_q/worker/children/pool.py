"""The children of a worker: started when there is something to do, fed, timed, and settled."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Iterator
from uuid import UUID

from ...lifecycle.outcome import Outcome
from ...storage import ClaimedJob
from ...storage.timestamps import DatabaseClock
from ..executor_groups import MAX_RETIRING, Group
from ..subscribers.finished_signals import FinishedSignals
from ..subscribers.progress import ProgressBuffer
from ..system import describe_exit
from . import protocol
from .concurrent_parent import ConcurrentParentSide
from .fork_server import ForkServer, ServerGone
from .parent_side import ParentSide
from .process_parent import ProcessParentSide
from .protocol import Channel
from .starts import MAX_FAILURES

#: Seconds a job may wait in the parent for a child before others may have it.
BACKLOG_TIMEOUT = 1.0


class PoolBroken(Exception):
    """No child can be had."""


class Pool:
    """All children, in groups."""

    def __init__(
        self,
        server: ForkServer,
        group_of: dict[str, Group],
        child_config: dict[str, str],
    ) -> None:
        self.server = server
        self.group_of = group_of
        self.groups = list({id(group): group for group in group_of.values()}.values())
        self.child_config = child_config
        self.clock = DatabaseClock()
        for group in self.groups:
            group.clock = self.clock
        self.children: dict[int, ParentSide] = {}
        self.finished_signals = FinishedSignals(self.children)
        self.notes = ProgressBuffer()
        #: Groups that were broken and are not any more, since somebody last asked.
        self.has_recovered = False
        self._keys = 0

    # Children

    def fill(self, worker_id: UUID) -> None:
        """Start the children that the waiting jobs are in want of. Raises PoolBroken."""
        if self.groups and len(self.broken) == len(self.groups):
            raise PoolBroken(f"{MAX_FAILURES} child processes in a row died while they started.")
        for group in self.groups:
            if group.starts.is_broken:
                if not group.starts.seconds_to_next and not any(self._of(group)):
                    self._start(group, worker_id)  # whether it can be had again
            elif group.backlog:
                # One that is starting will take what it can when it is there.
                idle = sum(self._will_take(child) for child in self._of(group))
                wanted = -(-len(group.backlog) // group.capacity) - idle
                for _ in range(min(wanted, self._vacancies(group))):
                    if not self._start(group, worker_id):
                        break
        if self.finished_signals.unsent and not self.children:
            for group in self.groups:
                if (
                    not group.starts.is_broken
                    and not group.starts.seconds_to_next
                    and self._start(group, worker_id)
                ):
                    break

    @property
    def broken(self) -> list[str]:
        """Executors of which no child can be had, by name."""
        return [group.executor for group in self.groups if group.starts.is_broken]

    def _has_failed(self, group: Group, reason: str) -> None:
        """A child of a group could not be started. The next is tried after a pause."""
        group.starts.failed(reason, is_alone=not any(child.ready for child in self._of(group)))

    def _will_take(self, child: ParentSide) -> bool:
        """Whether a child is about to come for jobs that wait."""
        if child.held or child.is_retiring:
            return False
        return not child.ready or child.room(time.monotonic()) > 0

    def _vacancies(self, group: Group) -> int:
        if group.starts.is_broken or group.starts.seconds_to_next:
            return 0
        mine = list(self._of(group))
        retiring = sum(child.is_retiring for child in mine)
        return group.size - (len(mine) - min(retiring, MAX_RETIRING))

    def _of(self, group: Group) -> Iterator[ParentSide]:
        return (child for child in self.children.values() if child.group is group)

    def _start(self, group: Group, worker_id: UUID) -> bool:
        """Start a child. False if that is not possible now. Raises PoolBroken."""
        self._keys += 1
        config = {
            **self.child_config,
            "worker_id": str(worker_id),
            "executor": group.executor,
            "capacity": str(group.capacity),
        }
        kind = ProcessParentSide if group.kind == "process" else ConcurrentParentSide
        try:
            pipes = self.server.spawn(self._keys, config)
            try:
                self.children[self._keys] = kind(self._keys, group, pipes)
            except OSError:
                pipes.sock.close()
                pipes.close()
                raise
        except ServerGone:
            raise PoolBroken("The process that starts children is gone.") from None
        except OSError as error:
            self._has_failed(group, str(error))
            return False
        return True

    def channels(self, *, quiet: bool = False) -> Iterator[tuple[Channel, bool]]:
        """Every channel to wait for, and whether it also has something to send.

        With ``quiet`` not those of children that have work for some time.
        """
        yield self.server.channel, self.server.channel.has_unsent
        for child in self.children.values():
            if child.gone_at is None and not (quiet and child.in_hand):
                yield child.channel, child.channel.has_unsent

    # Jobs

    @property
    def held(self) -> int:
        """Claimed jobs that have no outcome yet."""
        return self.waiting + sum(child.held for child in self.children.values())

    @property
    def waiting(self) -> int:
        """Claimed jobs that no child has."""
        return sum(len(group.backlog) for group in self.groups)

    @property
    def in_hand(self) -> float:
        """Seconds for which no child will run out of jobs, as far as can be told; 0 if one has already.

        Of those that have a job and none behind it nothing can be told: they are listened to.
        """
        at_work = {id(child.group) for child in self.children.values() if child.held}
        mine = [child for child in self.children.values() if id(child.group) in at_work]
        if any(child.accepts and not child.held for child in mine):
            return 0.0
        return min((child.in_hand for child in mine if child.in_hand), default=0.0)

    def room(self, group: Group) -> int:
        """How many more jobs could start soon enough to be worth claiming now."""
        now = time.monotonic()
        if group.starts.is_broken:
            return 0
        room = self._vacancies(group) * group.ahead
        for child in self._of(group):
            room += child.room(now) if child.ready or child.is_retiring else group.ahead
        return group.room(room)

    def common_wish(self) -> tuple[list[str], int]:
        """A claim for all groups that have room: its task names, and how many jobs fit of any of them."""
        able = [group for group in self.groups if self.room(group)]
        names = [name for group in able for name in group.task_names]
        return names, min((self.room(group) for group in able), default=0)

    def wishes(self) -> Iterator[tuple[list[str], int]]:
        """A claim for each group that has room, for when the common one left something."""
        for group in self.groups:
            if room := self.room(group):
                yield group.task_names, room

    @property
    def task_names(self) -> list[str]:
        """Of all groups that are not broken."""
        return [name for group in self.groups if not group.starts.is_broken for name in group.task_names]

    @property
    def has_room(self) -> bool:
        return any(self.room(group) for group in self.groups)

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Take in claimed jobs."""
        for job in jobs:
            self.group_of[job.task_name].add(job)

    def feed(self) -> list[ClaimedJob]:
        """Hand the backlog out. Answers jobs that no child gets round to, for others to have."""
        now = time.monotonic()
        overdue: list[ClaimedJob] = []
        for group in self.groups:
            overdue += group.expired()
            if group.starts.is_broken:
                overdue += group.backlog
                group.backlog.clear()
            elif not group.backlog or self._feed(group, now) or self._is_growing(group):
                group.waiting_since = None
            elif group.waiting_since is None:
                group.waiting_since = now
            elif now - group.waiting_since > BACKLOG_TIMEOUT:
                overdue += group.backlog
                group.backlog.clear()
                group.waiting_since = None
        return overdue

    def _is_growing(self, group: Group) -> bool:
        return self._vacancies(group) > 0 or any(not child.ready for child in self._of(group))

    def _feed(self, group: Group, now: float) -> int:
        """Hand jobs to the children that have the least to do. Answers how many went."""
        before = len(group.backlog)
        rooms = [(child.room(now), child) for child in self._of(group)]
        takers = sorted(((room, child) for room, child in rooms if room), key=lambda taker: -taker[0])
        for index, (room, child) in enumerate(takers):
            share = -(-len(group.backlog) // (len(takers) - index))
            left = min(share, room)
            while left and (jobs := group.next(left)):
                child.send(jobs)
                left = min(left - len(jobs), child.room(now))
        return before - len(group.backlog)

    def cancel(self, job_ids: Iterable[UUID]) -> list[Outcome]:
        """Have jobs ended that somebody wants cancelled. Answers the endings of those that never started."""
        outcomes = []
        for job_id in job_ids:
            if not any(child.cancel(job_id) for child in list(self.children.values())):
                for group in self.groups:
                    for job in [job for job in group.backlog if job.id == job_id]:
                        group.backlog.remove(job)
                        # Its row says that it is to be cancelled, and that is what giving it back does.
                        outcomes.append(Outcome.released(job.id, job.fence))
        return outcomes

    # What the children say

    def receive(self) -> list[Outcome]:
        """Take in what children and server say, enforce the deadlines, and answer the attempts that ended."""
        outcomes: list[Outcome] = []
        for child in list(self.children.values()):
            child.channel.flush()
            outcomes += self._answers(child)
        for kind, body in self._server_frames():
            key, value, *more = json.loads(body)
            found = self.children.get(key)
            if found is None:
                continue
            if kind == protocol.SPAWNED:
                found.pid = value
            else:
                has_lapsed, *reason = more
                if has_lapsed:
                    # The lease was renewed after all, too late for the child: it is not to blame.
                    found.verdict = found.verdict or "release"
                outcomes += self._bury(found, value, *reason)
        now = time.monotonic()
        for child in list(self.children.values()):
            outcomes += child.enforce(now)
        return outcomes

    def _server_frames(self) -> list[tuple[bytes, bytes]]:
        self.server.channel.flush()
        try:
            return list(self.server.channel.receive())
        except EOFError:
            raise PoolBroken("The process that starts children is gone.") from None

    def _answers(self, child: ParentSide) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            for kind, body in child.channel.receive():
                if kind == protocol.SUCCESS:
                    answer = protocol.unpack_success(body, child.expected)
                    self._answered(child, *answer, len(body), outcomes)
                elif kind == protocol.OUTCOME:
                    self._answered(child, *protocol.unpack_outcome(body), len(body), outcomes)
                elif kind == protocol.NOTE:
                    self.notes.append(protocol.unpack_note(body))
                elif kind == protocol.STARTED:
                    child.started(UUID(bytes=body))
                elif kind == protocol.READY:
                    child.ready = True
                    child.since = time.monotonic()
                    self.has_recovered |= child.group.starts.succeeded()
                elif kind == protocol.SENT:
                    child.has_sent()
                elif kind == protocol.TIRED:
                    child.retire()
                elif kind == protocol.DROPPED and isinstance(child, ProcessParentSide):
                    child.dropping = False
                elif kind == protocol.PONG and isinstance(child, ConcurrentParentSide):
                    child.responds(time.monotonic())
        except EOFError:
            if child.gone_at is None:
                child.gone_at = time.monotonic()
        return outcomes

    def _answered(
        self, child: ParentSide, outcome: Outcome, told: bool, size: int, outcomes: list[Outcome]
    ) -> None:
        if not child.answered(outcome):
            return
        child.done += 1
        child.group.learn(outcome.duration or 0.0, size)
        if child.group.recycling.is_due(child):
            child.retire()
        self.finished_signals.ran(outcome, child, told)
        outcomes.append(outcome)

    def _bury(self, child: ParentSide, status: int, reason: str = "") -> list[Outcome]:
        """A child has exited: settle the jobs it was running, keep the ones it had not started."""
        outcomes = self._answers(child)
        settled = child.settle(status)
        self.finished_signals.inherit(child, was_running=bool(settled))
        child.close()
        del self.children[child.key]
        if child.ready:
            child.group.starts.try_now()  # what it had is free for it
        elif child.verdict in ("", "boot"):
            self._has_failed(child.group, reason or describe_exit(status))
        return outcomes + settled

    # Stopping

    def withdraw(self) -> list[ClaimedJob]:
        """Take back every job that has not started."""
        jobs: list[ClaimedJob] = []
        for group in self.groups:
            jobs += group.backlog
            group.backlog.clear()
        for child in self.children.values():
            jobs += child.take_back()
        return jobs

    def kill(self) -> None:
        """Kill every child; the jobs they run are given back once their exits are received."""
        for child in self.children.values():
            child.condemn("release")

    def settle(self) -> list[Outcome]:
        """Every child is dead, and nobody tells of their exits: answer how the attempts that they ran end."""
        outcomes: list[Outcome] = []
        for child in list(self.children.values()):
            child.verdict = child.verdict or "release"
            outcomes += self._bury(child, signal.SIGKILL)
        return outcomes

    def abandon(self) -> None:
        """Kill every child and forget their jobs: this worker's claim on them is over."""
        self.finished_signals.forget()
        for group in self.groups:
            group.backlog.clear()
        for child in self.children.values():
            child.condemn("release")
            child.abandon()

    def dismiss(self) -> None:
        """Let every child leave that has nothing left to do."""
        now = time.monotonic()
        for child in self.children.values():
            if not child.unsent and child.dismissed_at is None:
                child.dismiss(now)

    def deadline(self) -> float:
        """Seconds until something here is due."""
        now = time.monotonic()
        due = min((child.due(now) for child in self.children.values()), default=3600.0)
        for group in self.groups:
            if group.waiting_since is not None:
                due = min(due, group.waiting_since + BACKLOG_TIMEOUT - now)
            if (group.backlog or group.starts.is_broken) and (pause := group.starts.seconds_to_next):
                due = min(due, pause)
        return max(0.0, min(due, 3600.0))
