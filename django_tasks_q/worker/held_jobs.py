"""The jobs that a worker has claimed and whose endings are not written yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from ..lifecycle.outcome import Outcome
from ..storage import ClaimedJob


class HeldJobs:
    """The jobs of this worker, by id and fence: the only place that says whether it holds an attempt.

    The fence is part of the key, since a job that is to run again at once is claimed by the very round trip
    that writes the end of its attempt before, and for a moment both are here.
    """

    def __init__(self) -> None:
        self._jobs: dict[tuple[UUID, int], ClaimedJob] = {}

    def add(self, jobs: Iterable[ClaimedJob]) -> None:
        """Add jobs that were claimed."""
        self._jobs.update(((job.id, job.fence), job) for job in jobs)

    def remove(self, outcomes: Iterable[Outcome]) -> list[ClaimedJob | None]:
        """Remove attempts whose endings are written. Return the job of each, or None if it was not held."""
        return [self._jobs.pop((outcome.job_id, outcome.fence), None) for outcome in outcomes]

    def __contains__(self, key: object) -> bool:
        return key in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def ids(self) -> set[UUID]:
        """The ids of the jobs, whatever their fences."""
        return {job_id for job_id, _ in self._jobs}

    def clear(self) -> None:
        """Remove all jobs, which belong to other workers."""
        self._jobs.clear()


def first_of_each_job(outcomes: Sequence[Outcome]) -> tuple[Sequence[Outcome], list[Outcome]]:
    """Return outcomes of different jobs, and the later outcomes of the same jobs.

    What the database returns is matched by job, so two attempts of one job are written one after the other.
    """
    if len({outcome.job_id for outcome in outcomes}) == len(outcomes):  # as nearly always
        return outcomes, []
    first: dict[UUID, Outcome] = {}
    later = [outcome for outcome in outcomes if first.setdefault(outcome.job_id, outcome) is not outcome]
    return list(first.values()), later
