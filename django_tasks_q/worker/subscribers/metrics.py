"""Counts what becomes of jobs, for charts: in memory, and every few seconds in the table."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import UUID

from django.db import DatabaseError

from ...lifecycle.outcome import Outcome
from ...lifecycle.states import JobStatus
from ...models.statistic import BOUNDS, BUCKETS
from ...storage import ClaimedJob, Storage

logger = logging.getLogger("django_tasks_q.worker")

#: Seconds that figures may wait to be written.
EVERY = 10.0
#: Most queues and tasks that are told apart between two writes; those beyond are counted as one without name.
MOST = 1000

Label = tuple[str, str]
_ENDED = {
    JobStatus.SUCCESSFUL: "successful",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
    JobStatus.EXPIRED: "expired",
    JobStatus.SCHEDULED: "retried",
    JobStatus.READY: "retried",
}


class Metrics:
    """Nothing here asks the database for a job, except for those that this worker did not run."""

    def __init__(self, storage: Storage, backend: str) -> None:
        self.storage = storage
        self.backend = backend
        self._figures: dict[Label, defaultdict[str, float]] = {}
        self._since = 0.0

    def _of(self, label: Label) -> defaultdict[str, float]:
        figures = self._figures.get(label)
        if figures is None:
            if not self._figures:
                self._since = time.monotonic()
            if len(self._figures) >= MOST:
                label = ("", "")
            figures = self._figures.setdefault(label, defaultdict(float))
        return figures

    def claimed(self, jobs: Iterable[ClaimedJob]) -> None:
        """These are the worker's now."""
        label, count, waited = ("", ""), 0, 0
        for job in jobs:
            if label != (mine := (job.queue_name, job.task_name)):
                self._add_claims(label, count, waited)
                label, count, waited = mine, 0, 0
            count += 1
            if job.attempts + job.crashes == 1:
                due = job.enqueued_at if job.run_after is None else max(job.enqueued_at, job.run_after)
                waited += max(0, job.last_attempted_at - due)
        self._add_claims(label, count, waited)

    def _add_claims(self, label: Label, count: int, waited: int) -> None:
        if count:
            figures = self._of(label)
            figures["started"] += count
            figures["seconds_waited"] += waited / 1e6

    def ended(
        self, endings: Iterable[tuple[Outcome, ClaimedJob | None]], written: Mapping[UUID, JobStatus]
    ) -> None:
        """These states stand in the database; what has none was others' already."""
        for outcome, job in endings:
            status = written.get(outcome.job_id)
            if job is None or status is None:
                continue
            label = (job.queue_name, job.task_name)
            figures = self._figures.get(label) or self._of(label)
            if status is JobStatus.SUCCESSFUL:  # as nearly all are
                figures["successful"] += 1
            elif outcome.is_uncounted and status is JobStatus.READY:
                continue
            else:
                if not (outcome.is_uncounted and status is JobStatus.SCHEDULED):
                    figures[_ENDED[status]] += 1
                if outcome.is_crash:
                    figures["crashed"] += 1
            if outcome.duration is not None:
                figures["seconds_run"] += outcome.duration
                figures[BUCKETS[bisect_left(BOUNDS, outcome.duration)]] += 1

    def found(self, expired: Iterable[UUID], rescued: Mapping[UUID, JobStatus]) -> None:
        """Jobs that expired, and others' that were rescued. Raises a database Error."""
        states = dict.fromkeys(expired, JobStatus.EXPIRED) | dict(rescued)
        if not states:
            return
        for id, queue, task in self.storage.labels(states):
            figures = self._of((queue, task))
            figures[_ENDED[states[id]]] += 1
            if id in rescued:
                figures["crashed"] += 1

    @property
    def seconds_to_next(self) -> float:
        """Seconds until figures should be written; infinite without any."""
        return max(0.0, self._since + EVERY - time.monotonic()) if self._figures else float("inf")

    def write(self, *, now: bool = False) -> None:
        """Write what is due, or with ``now`` all. Raises a database Error that is not about the figures."""
        if not self._figures or not (now or not self.seconds_to_next):
            return
        try:
            self.storage.count(self.backend, self._figures)
        except DatabaseError as error:
            if not self.storage.refuses(error):
                raise
            logger.warning("Statistics were refused: %s", error)
        self._figures = {}
