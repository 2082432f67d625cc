"""The counts of jobs by state, queue and task, for all screens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ..access import database
from ..lifecycle.states import JobStatus
from ..models.job import JobQuerySet
from ..storage import storage_for
from ..storage.orm.counting import Count
from ..storage.orm.monitoring import INDEXED, capped_counts
from ..storage.orm.queue_counts import QueueCounts
from .base import sees_all_jobs
from .choices import known_queues_of_backends
from .job_list import RETRYING

#: The most jobs of a state that are counted.
CAP = 10_000

Queue = tuple[str, str]


@dataclass
class JobCounts:
    """Counts of jobs. At most CAP of a state are counted; ``total`` is by tab."""

    total: Counter[str] = field(default_factory=Counter)
    #: By task, of the jobs that are claimed next.
    ready_tasks: Counter[str] = field(default_factory=Counter)
    #: By worker, of the jobs that are running.
    holders: Counter[UUID | None] = field(default_factory=Counter)
    #: By backend and queue, after ``with_queues()``.
    queues: dict[Queue, QueueCounts] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: JobQuerySet) -> JobCounts:
        found = cls()
        for status, task, worker, again, count in capped_counts(database(), jobs, CAP + 1):
            found._add(status, task, worker, bool(again), count)
        return found

    def with_queues(self, jobs: JobQuerySet, stored: Iterable[Any] = ()) -> JobCounts:
        """Add the counts by queue: of queues with jobs, of the settings, and those in ``stored``."""
        storage = storage_for(database())
        names = {*known_queues_of_backends(), *((queue.backend, queue.name) for queue in stored)}
        is_all = sees_all_jobs()
        self.queues = storage.queues.count(
            names.union(storage.queues.busy()), None if is_all else jobs, cap=CAP
        )
        if not is_all:
            # The names of queues without visible jobs are hidden.
            self.queues = {
                name: counts for name, counts in self.queues.items() if name in names or _is_any(counts)
            }
        return self

    def _add(self, status: str, task: str, worker: Any, again: bool, count: int) -> None:
        self.total[status.lower()] += count
        self.total["all"] += count
        match status:
            case JobStatus.READY:
                self.ready_tasks[task] += count
            case JobStatus.RUNNING:
                self.holders[UUID(str(worker)) if worker else None] += count
            case JobStatus.SCHEDULED if again:
                self.total[RETRYING] += count

    def number(self, queue: Queue, state: str) -> int:
        """Return the number of jobs of a state in a queue, up to the cap."""
        found = self.queues.get(queue)
        return 0 if found is None else getattr(found, state).number

    def count(self, queue: Queue, state: str) -> str:
        """Return the same number as text, with "+" if there are more."""
        found = self.queues.get(queue)
        return "0" if found is None else count_text(getattr(found, state))

    @property
    def oldest(self) -> dict[Queue, datetime]:
        """Return, by queue, the time since which the oldest ready job could have been started."""
        return {
            queue: counts.ready_since
            for queue, counts in self.queues.items()
            if counts.ready_since is not None
        }

    def is_capped(self, tab: str) -> bool:
        """Return whether there are more jobs than were counted. The state has to have an index."""
        return self.total[tab] > CAP

    def shown(self, tab: str) -> str:
        """Return the count of a tab as text, with "+" if there are more."""
        count = self.total[tab]
        more = count > CAP or (tab == RETRYING and self.total["scheduled"] > CAP)
        others = [state for state in JobStatus if state not in INDEXED]
        if tab in others or tab in [state.value.lower() for state in others]:
            # Without an index only the newest of all jobs are counted.
            more = sum(self.total[state.value.lower()] for state in others) + self._indexed() > CAP
        return f"{min(count, CAP):,}{'+' if more else ''}"

    def _indexed(self) -> int:
        return sum(self.total[state.value.lower()] for state in INDEXED)


def count_text(count: Count) -> str:
    """Return a count as text, with "+" if there are more."""
    return f"{count.number:,}{'+' if count.is_capped else ''}"


def _is_any(counts: QueueCounts) -> bool:
    return any(count.number for count in (counts.ready, counts.scheduled, counts.running))
