"""Gives back the jobs of workers whose lease is over."""

from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from ..conf import Options
from ..exceptions import WorkerLost
from ..execution.endings import by_rescue
from ..failpoints import failpoint
from ..lifecycle.states import JobStatus
from ..loggers import robust_logger
from ..storage import Storage

#: Jobs rescued in one transaction.
BATCH = 500

logger = robust_logger("django_tasks_q.maintenance")


class Rescued(NamedTuple):
    """The jobs of lost workers that were rescued."""

    #: The states that they have now.
    states: Mapping[UUID, JobStatus] = {}
    #: Those whose attempts do not count, since they are not known to have begun.
    uncounted: Collection[UUID] = ()


def rescue(storage: Storage, backend: str, settings: Options) -> Rescued:
    """Give back a batch of lost jobs, or fail those that cost too many workers.

    Only an attempt that is marked as one that begins counts as a crash. The write names the fence that was
    read, so a job that has changed since is left alone.
    """
    lost = storage.maintenance.lost(backend, BATCH)
    if not lost:
        return Rescued()
    lost_worker = WorkerLost("The worker stopped renewing its lease while it held this job.")
    outcomes = [by_rescue(job, settings, lost_worker) for job in lost]
    failpoint("rescue.selected")
    rescued = storage.jobs.finish(outcomes)
    failpoint("rescue.written")
    for job in lost:
        if job.id in rescued:
            logger.warning("Rescued job id=%s task=%s from a lost worker", job.id, job.task_name)
    return Rescued(rescued, [job.id for job in lost if job.id in rescued and not job.has_begun])
