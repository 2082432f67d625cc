"""Gives back the jobs of workers whose lease is over."""

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
    """Give back a batch of lost jobs, or fail those that cost too many workers. Return the new states.

    The write names the fence that was read, so a job that has changed since is left alone.
    """
    lost = storage.maintenance.lost(backend, BATCH)
    if not lost:
        return {}
    lost_worker = WorkerLost("The worker stopped renewing its lease while it held this job.")
    outcomes = [by_crash(job, settings, lost_worker) for job in lost]
    failpoint("rescue.selected")
    rescued = storage.jobs.finish(outcomes)
    failpoint("rescue.written")
    for job in lost:
        if job.id in rescued:
            logger.warning("Rescued job id=%s task=%s from a lost worker", job.id, job.task_name)
    return rescued
