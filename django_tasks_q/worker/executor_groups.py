"""Which tasks run in which children: those of one executor form a group."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..conf import Options
from ..definition.routing import executor_of
from ..definition.task import Task
from ..executors import Kind, executor_class
from ..storage import ClaimedJob
from ..storage.timestamps import DatabaseClock
from .children.recycling import Recycling
from .children.starts import Starts
from .config import WorkerConfig

#: Seconds of work a child may hold in advance.
AHEAD_SECONDS = 0.05
#: Seconds that a child needs for a job that does nothing, or less.
OVERHEAD = 2e-5
#: Bytes of arguments that the parent may hold for a group, beside those that its children have.
BACKLOG_BYTES = 4 << 20
#: Bytes of arguments that a child is handed at once, if it is more than one job. A socket has room for them,
#: and a child has read them within a millisecond.
FRAME_BYTES = 1 << 16
#: Children of a group that may be on their way out while others take their place.
MAX_RETIRING = 3


@dataclass
class Group:
    """The children of one executor, and the claimed jobs that none of them has."""

    executor: str
    kind: Kind
    settings: Options
    recycling: Recycling
    #: How many children there are at most.
    size: int
    #: Jobs that one of them runs at a time.
    capacity: int
    task_names: list[str] = field(default_factory=list)
    backlog: deque[ClaimedJob] = field(default_factory=deque)
    #: By which claimed jobs expire.
    clock: DatabaseClock = field(default_factory=DatabaseClock)
    #: Whether one in the backlog may.
    has_expiring: bool = False
    #: When a job began to wait in the backlog that no child has come for.
    waiting_since: float | None = None
    #: Seconds that recent jobs took.
    usual: float = AHEAD_SECONDS
    #: Bytes that recent ones answered.
    size_of_answer: float = 1.0
    #: Bytes that recent ones were called with.
    size_of_call: float = 1.0
    #: How starts of its children have gone lately.
    starts: Starts = field(init=False)

    def __post_init__(self) -> None:
        self.starts = Starts(self.executor)

    def learn(self, duration: float, size: int) -> None:
        """Take note of how many seconds a job took, and how many bytes it answered."""
        # Quick to believe that jobs are long, slow to believe that they are short: a job too many in
        # hand looks like running to everybody else.
        weight = 0.5 if duration > self.usual else 0.05
        self.usual += weight * (duration - self.usual)
        self.size_of_answer += (0.5 if size > self.size_of_answer else 0.05) * (size - self.size_of_answer)

    def add(self, job: ClaimedJob) -> None:
        """Put a claimed job behind the others, and take note of its size."""
        self.backlog.append(job)
        if job.expires_at is not None:
            self.has_expiring = True
        size, usual = _size(job), self.size_of_call
        self.size_of_call += (0.5 if size > usual else 0.05) * (size - usual)

    def expired(self) -> list[ClaimedJob]:
        """Take from the backlog what is not to be started any more."""
        if not self.has_expiring:
            return []
        late = [job for job in self.backlog if self.clock.is_past(job.expires_at)]
        for job in late:
            self.backlog.remove(job)
        self.has_expiring = any(job.expires_at is not None for job in self.backlog)
        return late

    def next(self, most: int) -> list[ClaimedJob]:
        """Take the next jobs from the backlog: up to ``most``, and no more than one frame has room for."""
        jobs: list[ClaimedJob] = []
        size = 0
        while self.backlog and len(jobs) < most:
            size += _size(self.backlog[0])
            if jobs and size > FRAME_BYTES:
                break
            jobs.append(self.backlog.popleft())
        return jobs

    def room(self, jobs: int) -> int:
        """How many of ``jobs`` more jobs may be claimed: not more than the parent is to hold."""
        most = max(1, int(BACKLOG_BYTES / max(1.0, self.size_of_call)))
        return max(0, min(jobs, most) - len(self.backlog))

    @property
    def pace(self) -> float:
        """Seconds from one job of a child to its next."""
        return max(self.usual, OVERHEAD)

    @property
    def ahead(self) -> int:
        """Jobs that a child of the group should have at hand, the running ones included."""
        if self.kind != "process":
            return self.capacity
        return max(1, int(AHEAD_SECONDS / self.pace))


def _size(job: ClaimedJob) -> int:
    return len(job.arguments) + len(job.metadata or "")


def groups_of(tasks: Iterable[Task[..., Any]], config: WorkerConfig, settings: Options) -> dict[str, Group]:
    """The groups that a worker needs, by the name of each task."""
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
        groups[name].task_names += names
        by_task |= dict.fromkeys(names, groups[name])
    return by_task
