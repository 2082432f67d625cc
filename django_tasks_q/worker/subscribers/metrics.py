"""Counts of jobs for the statistics: in memory, and every few seconds in the table."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from django.db import DatabaseError

from ...lifecycle.outcome import Outcome
from ...lifecycle.states import JobStatus
from ...loggers import robust_logger
from ...models.statistic import BOUNDS, BUCKETS
from ...storage import ClaimedJob, Storage

logger = robust_logger("django_tasks_q.worker")

#: Seconds that counts may wait to be written.
EVERY = 10.0
#: The most pairs of queue and task between two writes; those beyond are counted as one without a name.
MAX_LABELS = 1000

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
    """Counts by queue and task. Only jobs that this worker did not run are read from the database."""

    def __init__(self, storage: Storage, backend: str) -> None:
        self.storage = storage
        self.backend = backend
        self._counts: dict[Label, defaultdict[str, float]] = {}
        self._since = 0.0
        #: Jobs that this worker did not run, and whose queue and task are not looked up yet.
        self._expired: set[UUID] = set()
        self._rescued: dict[UUID, JobStatus] = {}
        #: Those of them whose attempts count as nothing.
        self._uncounted: set[UUID] = set()

    def _of(self, label: Label) -> defaultdict[str, float]:
        counts = self._counts.get(label)
        if counts is None:
            if not self._counts:
                self._since = time.monotonic()
            if len(self._counts) >= MAX_LABELS:
                label = ("", "")
            counts = self._counts.setdefault(label, defaultdict(float))
        return counts

    def claimed(self, jobs: Iterable[ClaimedJob]) -> None:
        """Count jobs that the worker has claimed."""
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
            counts = self._of(label)
            counts["started"] += count
            counts["seconds_waited"] += waited / 1e6

    def written(
        self, endings: Iterable[tuple[Outcome, ClaimedJob | None]], written: Mapping[UUID, JobStatus]
    ) -> None:
        """Count endings that were written. A job without a state belongs to another worker."""
        for outcome, job in endings:
            status = written.get(outcome.job_id)
            if job is None or status is None:
                continue
            label = (job.queue_name, job.task_name)
            counts = self._counts.get(label) or self._of(label)
            if status is JobStatus.SUCCESSFUL:  # as nearly all are
                counts["successful"] += 1
            elif outcome.is_uncounted and status is JobStatus.READY:
                continue
            else:
                if not (outcome.is_uncounted and status is JobStatus.SCHEDULED):
                    counts[_ENDED[status]] += 1
                if outcome.is_crash:
                    counts["crashed"] += 1
            if outcome.duration is not None:
                counts["seconds_run"] += outcome.duration
                counts[BUCKETS[bisect_left(BOUNDS, outcome.duration)]] += 1

    def expired(self, ids: Iterable[UUID]) -> None:
        """Count jobs that have expired."""
        self._expired.update(ids)

    def rescued(self, states: Mapping[UUID, JobStatus], uncounted: Collection[UUID]) -> None:
        """Count jobs of lost workers, which are in these states now, except those that count as nothing."""
        self._rescued |= {
            id: status
            for id, status in states.items()
            if status is not JobStatus.READY or id not in uncounted
        }
        self._uncounted.update(uncounted)

    def _count_others(self) -> None:
        """Look up queue and task of jobs that this worker did not run."""
        if not self._expired and not self._rescued:
            return
        states = dict.fromkeys(self._expired, JobStatus.EXPIRED) | self._rescued
        for id, queue, task in self.storage.jobs.labels(states):
            counts = self._of((queue, task))
            counts[_ENDED[states[id]]] += 1
            if id in self._rescued and id not in self._uncounted:
                counts["crashed"] += 1
        self._expired, self._rescued, self._uncounted = set(), {}, set()

    @property
    def seconds_to_next(self) -> float:
        """Seconds until counts should be written; infinite without any."""
        return max(0.0, self._since + EVERY - time.monotonic()) if self._counts else float("inf")

    def write(self, *, now: bool = False) -> None:
        """Write what is due, or with ``now`` all. Raises a database Error that is not about the counts."""
        self._count_others()
        if not self._counts or not (now or not self.seconds_to_next):
            return
        try:
            self.storage.statistics.count(self.backend, self._counts)
        except DatabaseError as error:
            if not self.storage.session.refuses(error):
                raise
            logger.warning("Statistics were refused: %s", error)
        self._counts = {}
