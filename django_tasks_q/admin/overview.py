"""How many jobs there are in each state, queue and task: one statement, for all screens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ..models.job import JobQuerySet
from ..scope import database
from ..states import JobStatus
from ..storage.looks import INDEXED, tally
from .joblist import RETRYING, moment_of

#: Most jobs of a state that are counted.
CAP = 10_000

Queue = tuple[str, str]


@dataclass
class Overview:
    """Counts of jobs, each at most CAP of a state. ``total`` is by tab."""

    total: Counter[str] = field(default_factory=Counter)
    #: By backend and queue.
    ready: Counter[Queue] = field(default_factory=Counter)
    running: Counter[Queue] = field(default_factory=Counter)
    scheduled: Counter[Queue] = field(default_factory=Counter)
    #: By task, of the jobs that are ready.
    ready_tasks: Counter[str] = field(default_factory=Counter)
    #: By worker, of the jobs that are running.
    holders: Counter[UUID | None] = field(default_factory=Counter)
    oldest: dict[Queue, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: JobQuerySet) -> Overview:
        found = cls()
        for status, backend, queue, task, worker, again, count, first in tally(database(), jobs, CAP + 1):
            found._add(status, (backend, queue), task, worker, bool(again), count, first)
        return found

    def _add(
        self, status: str, queue: Queue, task: str, worker: Any, again: bool, count: int, first: str
    ) -> None:
        self.total[status.lower()] += count
        self.total["all"] += count
        match status:
            case JobStatus.READY:
                self.ready[queue] += count
                self.ready_tasks[task] += count
                moment = moment_of(UUID(first))
                self.oldest[queue] = min(moment, self.oldest.get(queue, moment))
            case JobStatus.RUNNING:
                self.running[queue] += count
                self.holders[UUID(str(worker)) if worker else None] += count
            case JobStatus.SCHEDULED:
                self.scheduled[queue] += count
                if again:
                    self.total[RETRYING] += count

    def shown(self, tab: str) -> str:
        """A count as text, which says where there are more."""
        count = self.total[tab]
        more = count > CAP or (tab == RETRYING and self.total["scheduled"] > CAP)
        others = [state for state in JobStatus if state not in INDEXED]
        if tab in others or tab in [state.value.lower() for state in others]:
            # Of those only the newest jobs of all are looked at.
            more = sum(self.total[state.value.lower()] for state in others) + self._indexed() > CAP
        return f"{min(count, CAP):,}{'+' if more else ''}"

    def _indexed(self) -> int:
        return sum(self.total[state.value.lower()] for state in INDEXED)
