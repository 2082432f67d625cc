"""Deletes finished jobs when their retention is over, and results when theirs is."""

from collections.abc import Callable, Iterator

from ..conf import Options
from ..states import JobStatus
from ..storage import Storage

#: Jobs deleted in one transaction: short enough that no claim waits for it.
SLICE = 500


def prune(storage: Storage, backend: str, settings: Options, slices: int = 1) -> int:
    """Delete at most ``slices`` slices of each sort of jobs past their retention.

    Results past theirs are cleared likewise. Answers how many rows were dealt with.
    """
    done = 0
    for prune_slice in _duties(storage, backend, settings):
        for _ in range(slices):
            count = prune_slice()
            done += count
            if count < SLICE:
                break
    storage.forget_workers()
    for _ in range(slices):
        if storage.forget_keys(limit=SLICE) < SLICE:
            break
    return done


def _duties(storage: Storage, backend: str, settings: Options) -> Iterator[Callable[[], int]]:
    for statuses, retention in (
        ({JobStatus.SUCCESSFUL, JobStatus.CANCELLED}, settings.retention),
        ({JobStatus.FAILED, JobStatus.EXPIRED}, settings.retention_failed),
    ):
        if retention is not None:
            yield lambda statuses=statuses, retention=retention: storage.prune(  # type: ignore[misc]
                backend, statuses, retention, SLICE
            )
    for retention in storage.own_times("retention"):
        yield lambda retention=retention: storage.prune_retained(backend, retention, SLICE)  # type: ignore[misc]
    for ttl in storage.own_times("result_ttl"):
        yield lambda ttl=ttl: storage.clear_results(backend, ttl, SLICE)  # type: ignore[misc]
