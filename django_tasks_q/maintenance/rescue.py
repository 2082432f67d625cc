"""Gives the jobs of workers that went silent to others."""

import logging

from ..exceptions import WorkerLost
from ..failpoints import failpoint
from ..outcomes import Outcome
from ..storage import Storage

logger = logging.getLogger("django_tasks_q.maintenance")


def rescue(storage: Storage, backend: str, max_crashes: int) -> int:
    """Make lost jobs ready again, or failed where they cost too many workers. Answers how many.

    The write names the fence that was read, so a job that anybody has touched since is left alone.
    """
    rescued = 0
    while lost := storage.lost(backend):
        outcomes = [
            Outcome.crashed(
                job.id,
                job.fence,
                WorkerLost("The worker stopped renewing its lease while it held this job."),
                job.crashes + 1,
                max_crashes,
            )
            for job in lost
        ]
        failpoint("rescue.selected")
        won = storage.finish(outcomes)
        failpoint("rescue.written")
        for job in lost:
            if job.id in won:
                logger.warning("Rescued job id=%s task=%s from a lost worker", job.id, job.task_name)
        rescued += len(won)
        if not won:
            break
    return rescued
