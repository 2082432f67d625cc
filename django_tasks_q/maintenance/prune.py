"""Deletes finished jobs when their retention is over."""

from ..conf import Options
from ..states import JobStatus
from ..storage import Storage

#: Jobs deleted in one transaction: short enough that no claim waits for it.
SLICE = 500


def prune(storage: Storage, backend: str, settings: Options, slices: int = 1) -> int:
    """Delete at most ``slices`` slices of jobs past their retention. Answers how many were deleted."""
    deleted = 0
    for statuses, retention in (
        ({JobStatus.SUCCESSFUL, JobStatus.CANCELLED}, settings.retention),
        ({JobStatus.FAILED, JobStatus.EXPIRED}, settings.retention_failed),
    ):
        for _ in range(slices if retention is not None else 0):
            count = storage.prune(backend, statuses, retention or 0.0, SLICE)
            deleted += count
            if count < SLICE:
                break
    storage.forget_workers()
    return deleted
