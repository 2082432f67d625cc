"""The children of a worker: started when there are jobs, fed, kept to their deadlines, and buried."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Iterator
from uuid import UUID

from ...events import AttemptsEnded, ChildExited, Events, ExecutorRecovered, ProgressReceived
from ...executors import Kind
from ...lifecycle.outcome import Outcome
from ...loggers import robust_logger
from ...storage import ClaimedJob
from ...storage.timestamps import DatabaseClock
from ..begin_marks import BeginMarks
from ..executor_groups import BACKLOG_TIMEOUT, MAX_RETIRING, Group
from ..memory_kills import MemoryKills
from ..starts import MAX_FAILURES
from ..system import describe_exit
from . import protocol
from .event_loop import AsyncParentSide
from .fork_server import ForkServer, ServerGone
from .parent_side import ParentSide
from .process import ProcessParentSide
from .protocol import Channel
from .thread import ThreadParentSide

logger = robust_logger("django_tasks_q.worker")

PARENT_SIDES: dict[Kind, type[ParentSide]] = {
    "process": ProcessParentSide,
    "thread": ThreadParentSide,
    "async": AsyncParentSide,
}


class PoolBroken(Exception):
    """No child can be started."""


class ForkServerLost(PoolBroken):
    """The fork server is gone or hangs, maybe because of a job."""


class Pool:
    """All children of a worker, in groups, and the claimed jobs that have not ended."""

    def __init__(
        self,
        server: ForkServer,
        group_of: dict[str, Group],
        child_config: dict[str, str],
        events: Events,
    ) -> None:
        self.server = server
        self.group_of = group_of
        self.groups = list({id(group): group for group in group_of.values()}.values())
        self.child_config = child_config
        self.events = events
        self.clock, self.marks, self.memory_kills = DatabaseClock(), BeginMarks(), MemoryKills()
        for group in self.groups:
            group.share(self.clock, self.marks, self.memory_kills)
        self.children: dict[int, ParentSide] = {}
        self._keys = 0

    # Children

    def fill(self, worker_id: UUID, *, has_signals: bool = False) -> None:
        """Start the children that the backlogs need.

        ``has_signals`` says that receivers of ``task_finished`` are to be called, for which one is enough.
        Raises PoolBroken if no child can be started.
        """
        if self.groups and len(self.broken) == len(self.groups):
            raise PoolBroken(f"{MAX_FAILURES} child processes in a row died while they started.")
        for group in self.groups:
            if group.starts.is_broken:
                if not group.starts.seconds_to_next and not any(self._of(group)):
                    self._start(group, worker_id)  # to try whether it can be started again
            elif group.backlog:
                # A child that is starting will take what it can when it is ready.
                idle = sum(self._will_take(child) for child in self._of(group))
                wanted = -(-len(group.backlog) // group.capacity) - idle
                for _ in range(min(wanted, self._vacancies(group))):
                    if not self._start(group, worker_id):
                        break
        if has_signals and not self.children:
            for group in self.groups:
                if (
                    not group.starts.is_broken
                    and not group.starts.seconds_to_next
                    and self._start(group, worker_id)
                ):
                    break

    @property
    def broken(self) -> list[str]:
        """The names of the executors of which no child can be started."""
        return [group.executor for group in self.groups if group.starts.is_broken]

    def _has_failed(self, group: Group, reason: str) -> None:
        """Count a child of a group that could not be started. The next is tried after a pause."""
        group.starts.failed(reason, is_alone=not any(child.ready for child in self._of(group)))

    def _will_take(self, child: ParentSide) -> bool:
        """Return whether a child is about to take jobs of the backlog."""
        if child.held or child.is_retiring:
            return False
        return not child.ready or child.room(time.monotonic()) > 0

    def _vacancies(self, group: Group) -> int:
        """Return how many more children of a group may be started."""
        if group.starts.is_broken or group.starts.seconds_to_next:
            return 0
        mine = list(self._of(group))
        retiring = sum(child.is_retiring for child in mine)
        return group.size - (len(mine) - min(retiring, MAX_RETIRING))

    def _of(self, group: Group) -> Iterator[ParentSide]:
        return (child for child in self.children.values() if child.group is group)

    def _start(self, group: Group, worker_id: UUID) -> bool:
        """Start a child. Return False if that is not possible now. Raises PoolBroken."""
        self._keys += 1
        config = {
            **self.child_config,
            "worker_id": str(worker_id),
            "executor": group.executor,
            "capacity": str(group.capacity),
        }
        try:
            pipes = self.server.spawn(self._keys, config)
            try:
                self.children[self._keys] = PARENT_SIDES[group.kind](self._keys, group, pipes)
            except OSError:
                pipes.sock.close()
                pipes.close()
                raise
        except ServerGone:
            raise ForkServerLost("The process that starts children is gone.") from None
        except OSError as error:
            self._has_failed(group, str(error))
            return False
        return True

    def channels(self, *, quiet: bool = False) -> Iterator[tuple[Channel, bool]]:
        """Return every channel to wait for, and whether it also has something to send.

        With ``quiet`` the children that have work for some time are left out.
        """
        yield self.server.channel, self.server.channel.has_unsent
        for child in self.children.values():
            if child.gone_at is None and not (quiet and child.seconds_of_work):
                yield child.channel, child.channel.has_unsent

    # Jobs

    @property
    def held(self) -> int:
        """Claimed jobs that have not ended."""
        return self.waiting + sum(child.held for child in self.children.values())

    @property
    def waiting(self) -> int:
        """Claimed jobs in the backlogs."""
        return sum(len(group.backlog) for group in self.groups)

    @property
    def seconds_of_work(self) -> float:
        """Seconds for which no child runs out of jobs, as far as that can be estimated; 0 if one has already.

        Children that run their only job are left out: nothing is known of its end.
        """
        at_work = {id(child.group) for child in self.children.values() if child.held}
        mine = [child for child in self.children.values() if id(child.group) in at_work]
        if any(child.accepts and not child.held for child in mine):
            return 0.0
        return min((child.seconds_of_work for child in mine if child.seconds_of_work), default=0.0)

    def room(self, group: Group) -> int:
        """Return how many more jobs could start soon enough to be worth claiming now."""
        now = time.monotonic()
        if group.starts.is_broken:
            return 0
        room = self._vacancies(group) * group.ahead
        for child in self._of(group):
            room += child.room(now) if child.ready or child.is_retiring else group.ahead
        return group.room(room)

    def common_plan(self) -> tuple[list[str], int]:
        """Return a claim for all groups with room: its task names, and how many jobs fit of any of them."""
        able = [group for group in self.groups if self.room(group)]
        names = [name for group in able for name in group.task_names]
        return names, min((self.room(group) for group in able), default=0)

    def group_plans(self) -> Iterator[tuple[list[str], int]]:
        """Return a claim for each group that has room, for when the common one left some."""
        for group in self.groups:
            if room := self.room(group):
                yield group.task_names, room

    @property
    def task_names(self) -> list[str]:
        """The names of the tasks whose executors are not broken."""
        return [name for group in self.groups if not group.starts.is_broken for name in group.task_names]

    @property
    def has_room(self) -> bool:
        """Whether any job could start soon enough to be worth claiming now."""
        return any(self.room(group) for group in self.groups)

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Put claimed jobs into the backlogs."""
        for job in jobs:
            self.group_of[job.task_name].add(job)

    def feed(self) -> list[ClaimedJob]:
        """Send jobs to children. Return those that no child starts in time, to be given back."""
        now = time.monotonic()
        overdue: list[ClaimedJob] = []
        for group in self.groups:
            overdue += group.take_expired()
            if group.starts.is_broken:
                overdue += group.take_all()
            else:
                is_taken = not group.backlog or self._feed(group, now) or self._is_growing(group)
                overdue += group.take_overdue(now, is_waiting=not is_taken)
        return overdue

    def _is_growing(self, group: Group) -> bool:
        """Return whether a child of a group is being started, or may be."""
        return self._vacancies(group) > 0 or any(not child.ready for child in self._of(group))

    def _feed(self, group: Group, now: float) -> int:
        """Send jobs to the children that hold the fewest. Return how many were sent."""
        before = len(group.backlog)
        rooms = [(child.room(now), child) for child in self._of(group)]
        takers = sorted(((room, child) for room, child in rooms if room), key=lambda taker: -taker[0])
        for index, (room, child) in enumerate(takers):
            share = -(-len(group.backlog) // (len(takers) - index))
            left = min(share, room)
            while left and (jobs := group.next(left, child.places(now) if group.has_marked else 0)):
                child.send(jobs)
                left = min(left - len(jobs), child.room(now))
        return before - len(group.backlog)

    def unmarked(self) -> list[ClaimedJob]:
        """Return the jobs that free children are given once they are marked as ones that begin."""
        now = time.monotonic()
        return [
            job
            for group in self.groups
            if group.has_marked
            for job in group.unmarked(sum(child.places(now) for child in self._of(group)))
        ]

    def give_up(self, jobs: Iterable[ClaimedJob]) -> list[ClaimedJob]:
        """Remove jobs from the backlogs, and return those that were there."""
        return [found for job in jobs for group in self.groups for found in group.take(job.id)]

    def cancel(self, job_ids: Iterable[UUID]) -> list[Outcome]:
        """Interrupt running jobs. Return the outcomes of those that had not started."""
        outcomes = []
        for job_id in job_ids:
            if not any(child.cancel(job_id) for child in list(self.children.values())):
                for group in self.groups:
                    # A release makes the job end as cancelled, as its row says.
                    outcomes += [Outcome.released(job.id, job.fence) for job in group.take(job_id)]
        return outcomes

    # What the children report

    def receive(self) -> list[Outcome]:
        """Read what children and fork server have sent, and enforce deadlines. Return the outcomes of it."""
        outcomes: list[Outcome] = []
        for child in list(self.children.values()):
            child.channel.flush()
            outcomes += self._read(child)
        for kind, body in self._server_frames():
            key, value, *more = json.loads(body)
            found = self.children.get(key)
            if found is None:
                continue
            if kind == protocol.SPAWNED:
                found.spawned(value)
            else:
                has_lapsed, *reason = more
                if has_lapsed:
                    found.excuse()  # the lease was renewed too late for it
                outcomes += self._bury(found, value, *reason)
        now = time.monotonic()
        for child in list(self.children.values()):
            outcomes += child.enforce(now)
            if child.kill_reason or child.pid is None:
                outcomes += self._bury_overdue(child, now)
        return outcomes

    def _bury_overdue(self, child: ParentSide, now: float) -> list[Outcome]:
        """Go on without the report of a child's exit. Return the outcomes of the attempts that it ran.

        The kernel may hold up a process that is killed, and the fork server may hang. No job waits for them.
        """
        if child.is_unanswered(now):
            raise ForkServerLost("The process that starts children does not respond.")
        if not child.is_overdue(now):
            return []
        logger.error("Child process %s was killed and does not end; it is left to the system.", child.pid)
        return self._bury(child, signal.SIGKILL)

    def _server_frames(self) -> list[tuple[bytes, bytes]]:
        self.server.channel.flush()
        try:
            return list(self.server.channel.receive())
        except EOFError:
            raise ForkServerLost("The process that starts children is gone.") from None

    def _read(self, child: ParentSide) -> list[Outcome]:
        """Read what a child has sent. Return the outcomes of the attempts that it held."""
        ended: list[tuple[Outcome, bool]] = []
        try:
            for kind, body in child.channel.receive():
                if kind == protocol.SUCCESS:
                    report = protocol.unpack_success(body, child.handover.expected)
                    if child.ended(report[0], len(body)):
                        ended.append(report)
                elif kind == protocol.OUTCOME:
                    report = protocol.unpack_outcome(body)
                    if child.ended(report[0], len(body)):
                        ended.append(report)
                elif kind == protocol.PROGRESS:
                    self.events.publish(ProgressReceived(protocol.unpack_update(body)))
                elif kind == protocol.STARTED:
                    child.started(*protocol.unpack_attempt(body))
                elif kind == protocol.READY:
                    if child.booted():
                        self.events.publish(ExecutorRecovered(child.group.executor))
                elif kind == protocol.SENT:
                    child.has_sent()
                elif kind == protocol.RETIRE:
                    child.retire()
                elif kind == protocol.PONG:
                    child.responded()
        except EOFError:
            child.closed_pipe()
        if ended:
            self.events.publish(AttemptsEnded(child.key, ended))
        return [outcome for outcome, _ in ended]

    def _bury(self, child: ParentSide, status: int, reason: str = "") -> list[Outcome]:
        """Remove a child that has exited. Return the outcomes of the attempts that it was running.

        Jobs that it had not started go back to the backlog.
        """
        outcomes = self._read(child)
        interrupted = child.end_attempts(status)
        self.events.publish(ChildExited(child.key, was_running=bool(interrupted)))
        child.close()
        del self.children[child.key]
        if child.ready:
            child.group.starts.try_now()  # its resources are free
        elif child.kill_reason in ("", "boot"):
            self._has_failed(child.group, reason or describe_exit(status))
        return outcomes + interrupted

    # Stopping

    def withdraw(self) -> list[ClaimedJob]:
        """Remove every job that has not started, and return them."""
        jobs: list[ClaimedJob] = []
        for group in self.groups:
            jobs += group.take_all()
        for child in self.children.values():
            jobs += child.take_back()
        return jobs

    def stop(self, at: float) -> None:
        """Let every task know that the worker is stopping, and be interrupted at a time on the clock."""
        for child in self.children.values():
            child.stop(at)

    def kill(self, reason: str = "release") -> None:
        """Kill every child. The attempts that they run end for that reason once their exits are received."""
        for child in self.children.values():
            child.kill(reason)

    def end_attempts(self, reason: str) -> list[Outcome]:
        """Return the outcomes of what dead children were running, without messages of their exits."""
        outcomes: list[Outcome] = []
        for child in list(self.children.values()):
            child.excuse(reason)
            outcomes += self._bury(child, signal.SIGKILL)
        return outcomes

    def abandon(self) -> None:
        """Kill every child and forget their jobs, which belong to other workers."""
        for group in self.groups:
            group.take_all()
        for child in self.children.values():
            child.kill("release")
            child.forget()

    def dismiss(self) -> None:
        """Let every child exit that has nothing left to do."""
        now = time.monotonic()
        for child in self.children.values():
            if not child.unsent and child.dismissed_at is None:
                child.dismiss(now)

    def deadline(self) -> float:
        """Return the seconds until something here is due."""
        now = time.monotonic()
        due = min((child.due(now) for child in self.children.values()), default=3600.0)
        for group in self.groups:
            due = min(due, group.seconds_to_expiry)
            if group.waiting_since is not None:
                due = min(due, group.waiting_since + BACKLOG_TIMEOUT - now)
            if (group.backlog or group.starts.is_broken) and (pause := group.starts.seconds_to_next):
                due = min(due, pause)
        return max(0.0, min(due, 3600.0))
