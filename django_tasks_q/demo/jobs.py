"""The jobs of a run, and how they are expected to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from django.db import transaction

from ..definition.task import Task
from ..lifecycle.states import JobStatus
from ..models import Job
from ..models.job import JobQuerySet
from . import tasks

BACKEND = "demo"
DELAY = timedelta(seconds=2)


@dataclass(frozen=True)
class Special:
    """A job that shows one feature."""

    task: Task[[], Any]
    what: str
    expected: str
    is_expected: Callable[[Job], bool]
    delay: timedelta | None = None


def _ended(status: JobStatus, *, runs: int, code: str = "") -> Callable[[Job], bool]:
    return lambda job: (job.status, job.runs, job.error_code) == (status, runs, code)


def _ran_late(job: Job) -> bool:
    waited = job.started_at and job.run_after and job.started_at >= job.run_after
    return bool(waited) and _ended(JobStatus.SUCCESSFUL, runs=1)(job)


SPECIALS = (
    Special(
        tasks.fail_twice,
        "A task that raises twice, with max_attempts=3",
        "successful at the third attempt",
        _ended(JobStatus.SUCCESSFUL, runs=3),
    ),
    Special(
        tasks.never_end,
        "A task that never ends, with timeout=1",
        "failed after one second, and not tried again",
        _ended(JobStatus.FAILED, runs=1, code="TASK_TIMEOUT"),
    ),
    Special(
        tasks.kill_own_process,
        "A task that kills its own process",
        "failed as poison after three crashes",
        _ended(JobStatus.FAILED, runs=3, code="POISON"),
    ),
    Special(
        tasks.run_later,
        "A task that is sent with run_after=timedelta(seconds=2)",
        "successful, and not started too early",
        _ran_late,
        DELAY,
    ),
)


def enqueue_jobs(queue: str) -> int:
    """Enqueue all jobs in one transaction, and return their number.

    The special jobs are the first, so that the others run next to them.
    """
    package = Path(django.__file__).parent
    paths = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    with transaction.atomic():
        for special in SPECIALS:
            special.task.using(backend=BACKEND, queue_name=queue, run_after=special.delay).enqueue()
        modules = tasks.parse_module.using(backend=BACKEND, queue_name=queue)
        modules.enqueue_many((path,) for path in paths)
    return len(paths) + len(SPECIALS)


def jobs_in(queue: str) -> JobQuerySet:
    """Return the jobs of one run, which has its own queue."""
    return Job.objects.filter(backend=BACKEND, queue_name=queue)


def problems(jobs: Iterable[Job]) -> list[str]:
    """Return a sentence for each job that did not end as expected."""
    specials = {special.task.name: special for special in SPECIALS}
    found = []
    for job in jobs:
        special = specials.get(job.task_name)
        if special is None and job.status != JobStatus.SUCCESSFUL:
            found.append(f"{job.task_name} {job.args}: expected successful, but it was {ending(job)}.")
        elif special is not None and not special.is_expected(job):
            found.append(f"{special.what}: expected {special.expected}, but it was {ending(job)}.")
    return found


def ending(job: Job) -> str:
    """Return in words how a job ended, or its present state."""
    text = str(JobStatus(job.status).label).lower()
    if job.error_code:
        text += f" ({job.error_code})"
    text += f" after {job.runs} {'run' if job.runs == 1 else 'runs'}"
    if job.crashes:
        text += f", {job.crashes} of them crashed"
    if job.is_finished and job.runs == 1 and job.run_after and job.started_at:
        text += f", started {(job.started_at - job.enqueued_at).total_seconds():.1f} s after it was sent"
    return text
