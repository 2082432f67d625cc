"""Gives back what a worker has claimed without ever learning of it."""

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
    """Make jobs ready again that are the worker's in the table and not in its memory. Answers the states.

    ``known`` is that memory: attempts by job and fence, as the table has them.

    The answer to a claim can be lost with the connection although the claim stands. The lease would
    keep such a job from everybody for as long as the worker lives.
    """
    orphans = [attempt for attempt in storage.held(worker_id) if attempt not in known]
    if not orphans:
        return {}
    written = storage.finish([Outcome.released(job_id, fence) for job_id, fence in orphans])
    logger.warning("Gave back %d jobs whose claim this worker was never told of", len(written))
    return written
