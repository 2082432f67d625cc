"""Gives back orphans: jobs that a worker has claimed without knowing it."""

from __future__ import annotations

import logging
from collections.abc import Container
from uuid import UUID

from ..lifecycle.outcome import Outcome
from ..lifecycle.states import JobStatus
from ..storage import Storage

logger = logging.getLogger("django_tasks_q.maintenance")


def release_orphans(
    storage: Storage, worker_id: UUID, known: Container[tuple[UUID, int]]
) -> dict[UUID, JobStatus]:
    """Give back jobs that the worker holds in the table but not in its memory, and return their states.

    ``known`` is that memory: attempts by job and fence, as the table has them.

    The reply to a claim can be lost with the connection although the claim was committed. The lease would
    keep such a job from all workers for as long as this one lives.
    """
    orphans = [attempt for attempt in storage.maintenance.held(worker_id) if attempt not in known]
    if not orphans:
        return {}
    written = storage.jobs.finish([Outcome.released(job_id, fence) for job_id, fence in orphans])
    logger.warning("Gave back %d jobs whose claim this worker did not know of", len(written))
    return written
