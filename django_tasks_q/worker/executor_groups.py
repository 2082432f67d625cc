"""The groups of children: the tasks of one executor run in the children of one group."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ..conf import Options
from ..definition.routing import executor_of
from ..definition.task import Task
from ..executors import Kind, executor_class
from ..storage import ClaimedJob
from ..storage.timestamps import DatabaseClock
from .begin_marks import BeginMarks, needs_mark
from .config import WorkerConfig
from .memory_kills import MemoryKills
from .recycling import Recycling
from .starts import Starts

#: Seconds of work that a child may hold in advance.
AHEAD_SECONDS = 0.05
#: Seconds that a child needs at least for a job, even one that does nothing.
OVERHEAD = 2e-5
#: Bytes of arguments that the backlog of a group may hold, beside those that its children hold.
BACKLOG_BYTES = 4 << 20
#: Bytes of arguments that a child is sent at once, unless one job alone has more. A socket has room for them,
#: and a child reads them within a millisecond.
FRAME_BYTES = 1 << 16
#: Retiring children of a group whose places are given to other children already.
MAX_RETIRING = 3
#: Seconds that a job may wait in the backlog for a child before it is given back to other workers.
BACKLOG_TIMEOUT = 1.0


@dataclass
class Group:
    """The children of one executor, and the claimed jobs that none of them has."""

    executor: str
    kind: Kind
    settings: Options
    recycling: Recycling
    #: The most children that it may have.
    size: int
    #: Jobs that one child runs at a time.
    capacity: int
    task_names: list[str] = field(default_factory=list)
    backlog: deque[ClaimedJob] = field(default_factory=deque)
    #: The clock by which claimed jobs expire.
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    #: The marks that some jobs need before a child may have them.
    marks: BeginMarks = field(default_factory=BeginMarks)
    #: Knows whether the kernel has killed a child for want of memory.
    memory_kills: MemoryKills = field(default_factory=MemoryKills)
    #: Whether a job in the backlog may need a mark.
    has_marked: bool = False
    #: Whether a job in the backlog may expire.
    has_expiring: bool = False
    #: Since when jobs wait in the backlog that no child is about to take.
    waiting_since: float | None = None
    #: Seconds that recent jobs took.
    usual_duration: float = AHEAD_SECONDS
    #: Bytes of the results of recent jobs.
    usual_result_size: float = 1.0
    #: Bytes of the arguments of recent jobs.
    usual_call_size: float = 1.0
    #: The recent starts of its children.
    starts: Starts = field(init=False)

    def __post_init__(self) -> None:
        self.starts = Starts(self.executor)

    def share(self, clock: DatabaseClock, marks: BeginMarks, memory_kills: MemoryKills) -> None:
        """Share these with the other groups of a worker."""
        self.clock, self.marks, self.memory_kills = clock, marks, memory_kills

    def serve(self, task_names: Iterable[str]) -> None:
        """Run the tasks of these names as well."""
        self.task_names += task_names

    def learn(self, duration: float, size: int) -> None:
        """Adapt to a job that took ``duration`` seconds and returned ``size`` bytes."""
        # Estimates rise quickly and fall slowly: a job too many that a child holds looks as if it ran.
        weight = 0.5 if duration > self.usual_duration else 0.05
        self.usual_duration += weight * (duration - self.usual_duration)
        usual = self.usual_result_size
        self.usual_result_size += (0.5 if size > usual else 0.05) * (size - usual)

    # The backlog

    def add(self, job: ClaimedJob) -> None:
        """Append a claimed job to the backlog, and adapt to its size."""
        self.backlog.append(job)
        if job.expires_at is not None:
            self.has_expiring = True
        if needs_mark(job):
            self.has_marked = True
        size, usual = _size(job), self.usual_call_size
        self.usual_call_size += (0.5 if size > usual else 0.05) * (size - usual)

    def put_back(self, jobs: list[ClaimedJob]) -> None:
        """Put jobs that were taken back from a child in front of the backlog."""
        self.backlog.extendleft(reversed(jobs))
        self.has_marked = self.has_marked or any(map(needs_mark, jobs))

    def take_expired(self) -> list[ClaimedJob]:
        """Remove the jobs from the backlog that must not be started any more, and return them."""
        if not self.has_expiring:
            return []
        late = [job for job in self.backlog if self.clock.is_past(job.expires_at)]
        for job in late:
            self.backlog.remove(job)
        self.has_expiring = any(job.expires_at is not None for job in self.backlog)
        return late

    @property
    def seconds_to_expiry(self) -> float:
        """Seconds until the first job in the backlog expires; infinite without one."""
        if not self.has_expiring:
            return float("inf")
        return min((self.clock.seconds_to(job.expires_at) for job in self.backlog), default=float("inf"))

    def take(self, job_id: UUID) -> list[ClaimedJob]:
        """Remove one job from the backlog, if it is there, and return it."""
        found = [job for job in self.backlog if job.id == job_id]
        for job in found:
            self.backlog.remove(job)
        return found

    def take_all(self) -> list[ClaimedJob]:
        """Remove and return the whole backlog."""
        jobs = list(self.backlog)
        self.backlog.clear()
        return jobs

    def take_overdue(self, now: float, *, is_waiting: bool) -> list[ClaimedJob]:
        """Remove and return the backlog if it has waited too long.

        ``is_waiting`` says that no child takes a job of it now or is about to.
        """
        if not is_waiting:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now
        elif now - self.waiting_since > BACKLOG_TIMEOUT:
            self.waiting_since = None
            return self.take_all()
        return []

    def next(self, limit: int, places: int = 0) -> list[ClaimedJob]:
        """Remove and return up to ``limit`` jobs from the front of the backlog that fit in one frame.

        A job that needs a mark is only taken with it, and only for one of the ``places`` where a job begins
        at once.
        """
        jobs: list[ClaimedJob] = []
        size = 0
        while self.backlog and len(jobs) < limit:
            job = self.backlog[0]
            size += _size(job)
            if jobs and size > FRAME_BYTES:
                break
            if self.has_marked and needs_mark(job) and not (len(jobs) < places and self.marks.may_begin(job)):
                break
            jobs.append(self.backlog.popleft())
        self.has_marked = self.has_marked and bool(self.backlog)
        return jobs

    def unmarked(self, places: int) -> list[ClaimedJob]:
        """Return the jobs that are to be marked before ``places`` that are free can be given them."""
        return self.marks.first_unmarked(self.backlog, places) if self.has_marked else []

    def room(self, jobs: int) -> int:
        """Return how many more jobs may be claimed for children that can take ``jobs``."""
        most = max(1, int(BACKLOG_BYTES / max(1.0, self.usual_call_size)))
        return max(0, min(jobs, most) - len(self.backlog))

    @property
    def pace(self) -> float:
        """Seconds from one job of a child to its next."""
        return max(self.usual_duration, OVERHEAD)

    @property
    def ahead(self) -> int:
        """Jobs that a child of the group should hold, the running ones included."""
        if self.kind != "process":
            return self.capacity
        return max(1, int(AHEAD_SECONDS / self.pace))


def _size(job: ClaimedJob) -> int:
    return len(job.arguments) + len(job.metadata or "")


def groups_of(tasks: Iterable[Task[..., Any]], config: WorkerConfig, settings: Options) -> dict[str, Group]:
    """Return the groups that a worker needs, by the name of each task."""
    groups: dict[str, Group] = {}
    by_task: dict[str, Group] = {}
    for task in tasks:
        name = executor_of(task, settings.executor)
        if name not in groups:
            kind = executor_class(name).kind
            size = config.processes if kind == "process" else 1
            capacity = {"process": 1, "thread": config.threads, "async": config.async_concurrency}[kind]
            groups[name] = Group(name, kind, settings, config.recycling, size, capacity)
        names = (task.name, *task.aliases)
        groups[name].serve(names)
        by_task |= dict.fromkeys(names, groups[name])
    return by_task
