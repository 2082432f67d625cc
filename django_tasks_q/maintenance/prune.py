"""Deletes what has a retention: finished jobs, their results, and rows of the past."""

from collections.abc import Callable, Iterator

from ..conf import Options
from ..lifecycle.states import JobStatus
from ..scheduling.fire import KEPT
from ..storage import Storage

#: Jobs deleted in one transaction, which is short enough that no claim waits for it.
SLICE = 500


def prune(storage: Storage, backend: str, settings: Options) -> int:
    """Delete a slice of each kind of jobs past their retention, and clear results past theirs.

    Return how many rows were deleted or cleared.
    """
    return sum(prune_slice() for prune_slice in _slices(storage, backend, settings))


def forget(storage: Storage) -> int:
    """Delete a slice of each kind of rows that are not needed any more, and return how many."""
    done = storage.workers.forget(limit=SLICE) + storage.maintenance.forget_keys(limit=SLICE)
    return done + storage.schedules.forget_firings(KEPT, limit=SLICE)


def _slices(storage: Storage, backend: str, settings: Options) -> Iterator[Callable[[], int]]:
    for statuses, retention in (
        ({JobStatus.SUCCESSFUL, JobStatus.CANCELLED}, settings.retention),
        ({JobStatus.FAILED, JobStatus.EXPIRED}, settings.retention_failed),
    ):
        if retention is not None:
            yield lambda statuses=statuses, retention=retention: storage.maintenance.prune(  # type: ignore[misc]
                backend, statuses, retention, SLICE
            )
    for retention in storage.maintenance.own_times(backend, "retention"):
        yield lambda retention=retention: storage.maintenance.prune_retained(backend, retention, SLICE)  # type: ignore[misc]
    for ttl in storage.maintenance.own_times(backend, "result_ttl"):
        yield lambda ttl=ttl: storage.maintenance.clear_results(backend, ttl, SLICE)  # type: ignore[misc]
