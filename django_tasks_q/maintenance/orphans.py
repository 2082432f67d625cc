"""Gives back orphans: jobs that a worker has claimed without knowing it."""

from __future__ import annotations

from collections.abc import Container
from uuid import UUID

from ..conf import Options
from ..exceptions import WorkerLost
from ..execution.endings import by_rescue
from ..lifecycle.outcome import Outcome
from ..lifecycle.states import JobStatus
from ..loggers import robust_logger
from ..storage import LostJob, Storage

logger = robust_logger("django_tasks_q.maintenance")


def release_orphans(
    storage: Storage, worker_id: UUID, known: Container[tuple[UUID, int]], settings: Options
) -> dict[UUID, JobStatus]:
    """Give back jobs that the worker holds in the table but not in its memory, and return their states.

    ``known`` is that memory: attempts by job and fence, as the table has them.

    The reply to a claim can be lost with the connection although the claim was committed. The lease would
    keep such a job from all workers for as long as this one lives. An attempt that is marked as one that
    begins was no such claim: it ends as that of a lost worker.
    """
    held = storage.maintenance.held(worker_id)
    orphans = [job for job in held if (job.id, job.fence) not in known]
    if not orphans:
        return {}
    written = storage.jobs.finish([_ending(job, settings) for job in orphans])
    logger.warning("Gave back %d jobs whose claim this worker did not know of", len(written))
    return written


def _ending(job: LostJob, settings: Options) -> Outcome:
    if not job.has_begun:
        return Outcome.released(job.id, job.fence)
    return by_rescue(job, settings, WorkerLost("The worker did not know any more that it held this job."))
