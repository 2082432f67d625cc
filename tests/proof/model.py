"""What the queue should do, in plain Python: one dictionary of jobs and one of leases."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django_tasks_q.lifecycle.outcome import Outcome


@dataclass
class Job:
    id: UUID
    priority: int
    max_attempts: int
    status: str = "READY"
    run_after: datetime | None = None
    fence: int = 0
    attempts: int = 0
    crashes: int = 0
    rescues: int = 0
    #: The fence of the attempt that was marked last.
    begun_fence: int | None = None
    worker: UUID | None = None
    finished_at: datetime | None = None
    #: The fences of its recorded attempts, with their outcomes.
    records: list[tuple[int, str]] = field(default_factory=list)


class Model:
    def __init__(self, now: datetime, max_crashes: int) -> None:
        self.now = now
        self.max_crashes = max_crashes
        self.jobs: dict[UUID, Job] = {}
        self.leases: dict[UUID, datetime] = {}

    def in_status(self, status: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.status == status]

    def enqueue(self, job: Job) -> None:
        self.jobs[job.id] = job

    def claim(self, worker: UUID, limit: int) -> list[tuple[UUID, int]]:
        ready = sorted(self.in_status("READY"), key=lambda job: (-job.priority, job.id))[:limit]
        for job in ready:
            job.status, job.worker = "RUNNING", worker
            job.fence += 1
            job.attempts += 1
        return [(job.id, job.fence) for job in ready]

    def mark_begun(self, id: UUID, fence: int) -> bool:
        job = self.jobs.get(id)
        if job is None or job.status != "RUNNING" or job.fence != fence:
            return False
        job.begun_fence = fence
        return True

    def finish(self, outcome: Outcome) -> bool:
        job = self.jobs.get(outcome.job_id)
        if job is None or job.status != "RUNNING" or job.fence != outcome.fence:
            return False
        kind, number = outcome.kind.value, job.attempts + job.crashes
        match kind:
            case "released" | "snoozed":
                job.attempts -= 1
                recorded = outcome.duration is not None
            case "rescued":
                job.attempts -= 1
                job.rescues += 1
                recorded = True
            case "crashed" | "lost":
                job.attempts -= 1
                job.crashes += 1
                recorded = True
            case _:
                recorded = kind != "successful" or number > 1
        if recorded:
            job.records.append((job.fence, kind))
        job.status = outcome.status.value
        if job.status == "SCHEDULED":
            job.run_after = self.now + timedelta(seconds=outcome.delay)
        elif job.status != "READY":
            job.finished_at = self.now
        return True

    def lose(self) -> int:
        """Rescue what no live worker owns. Answers how many."""
        lost = [job for job in self.in_status("RUNNING") if not self.lives(job.worker)]
        for job in lost:
            job.attempts -= 1
            if job.begun_fence == job.fence:
                job.crashes += 1
                job.records.append((job.fence, "lost"))
            else:
                job.rescues += 1
                job.records.append((job.fence, "rescued"))
            job.status = "FAILED" if job.crashes >= self.max_crashes else "READY"
            job.finished_at = self.now if job.status == "FAILED" else None
        return len(lost)

    def promote(self) -> int:
        due = [job for job in self.in_status("SCHEDULED") if job.run_after <= self.now]
        for job in due:
            job.status = "READY"
        return len(due)

    def next_due(self) -> float | None:
        times = [job.run_after for job in self.in_status("SCHEDULED")]
        return (min(times) - self.now).total_seconds() if times else None

    def prune(self, statuses: Collection[str], seconds: float, limit: int) -> int:
        before = self.now - timedelta(seconds=seconds)
        old = [job for job in self.jobs.values() if job.status in statuses and job.finished_at < before]
        for job in sorted(old, key=lambda job: job.finished_at)[:limit]:
            del self.jobs[job.id]
        return min(len(old), limit)

    def lives(self, worker: UUID | None) -> bool:
        return worker in self.leases and self.leases[worker] > self.now

    def register(self, worker: UUID, lease: float) -> None:
        self.leases[worker] = self.now + timedelta(seconds=lease)

    def heartbeat(self, worker: UUID, lease: float) -> bool:
        """Frozen or not: a lease that is over is never renewed."""
        if self.leases[worker] <= self.now + timedelta(seconds=lease / 12):
            return False
        self.register(worker, lease)
        return True

    def unregister(self, worker: UUID) -> None:
        self.leases[worker] = min(self.now, self.leases[worker])
