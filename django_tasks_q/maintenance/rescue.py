"""Gives the jobs of workers that went silent to others."""

import logging
from uuid import UUID

from ..conf import Options
from ..exceptions import WorkerLost
from ..execution.endings import by_crash
from ..failpoints import failpoint
from ..lifecycle.states import JobStatus
from ..storage import Storage

#: Jobs rescued in one transaction.
BATCH = 500

logger = logging.getLogger("django_tasks_q.maintenance")


def rescue(storage: Storage, backend: str, settings: Options) -> dict[UUID, JobStatus]:
    """Make a batch of lost jobs ready again, or failed where they cost too many workers. Answers the states.

    The write names the fence that was read, so a job that anybody has touched since is left alone.
    """
    lost = storage.lost(backend, BATCH)
    if not lost:
        return {}
    silent = WorkerLost("The worker stopped renewing its lease while it held this job.")
    outcomes = [by_crash(job, settings, silent) for job in lost]
    failpoint("rescue.selected")
    rescued = storage.finish(outcomes)
    failpoint("rescue.written")
    for job in lost:
        if job.id in rescued:
            logger.warning("Rescued job id=%s task=%s from a lost worker", job.id, job.task_name)
    return rescued
