"""Marks of attempts that begin, which are in the table before a child may start the job.

Where a whole worker is lost, the knowledge of what its children had begun is lost with it. An attempt that
is marked counts then, and any other does not. A mark costs a statement, so only few jobs need one: those that
must not run twice, and those whose workers were lost again and again, which may have caused that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from uuid import UUID

from ..execution.endings import is_fatal_to_lose
from ..lifecycle.outcome import Outcome
from ..lifecycle.retry import UNCOUNTED_RESCUES
from ..storage import ClaimedJob, Storage

Key = tuple[UUID, int]


def needs_mark(job: ClaimedJob) -> bool:
    """Return whether a job is started only after a mark, and never ahead of another in the same child."""
    return job.rescues >= UNCOUNTED_RESCUES or (job.options != "" and is_fatal_to_lose(job.options))


class BeginMarks:
    """The marks of the attempts that a worker holds."""

    def __init__(self) -> None:
        self._marked: set[Key] = set()

    def may_begin(self, job: ClaimedJob) -> bool:
        """Return whether a child may be given a job: it is marked, or needs no mark."""
        return (job.id, job.fence) in self._marked or not needs_mark(job)

    def first_unmarked(self, jobs: Iterable[ClaimedJob], limit: int) -> list[ClaimedJob]:
        """Return those jobs at the front of a backlog that ``limit`` free places are to be marked for."""
        first = list(zip(range(limit), takewhile(needs_mark, jobs), strict=False))
        return [job for _, job in first if not self.may_begin(job)]

    def write(self, storage: Storage, jobs: Sequence[ClaimedJob]) -> list[ClaimedJob]:
        """Mark jobs by one statement. Return those that belong to other workers by now.

        Raises a database Error; the marks are written again then.
        """
        marked = storage.jobs.mark_begun([(job.id, job.fence) for job in jobs])
        self._marked |= marked
        return [job for job in jobs if (job.id, job.fence) not in marked]

    def ended(self, endings: Iterable[tuple[Outcome, ClaimedJob | None]]) -> None:
        """Forget the marks of attempts that have ended."""
        if self._marked:
            self._marked.difference_update((outcome.job_id, outcome.fence) for outcome, _ in endings)

    def forget(self) -> None:
        """Forget all marks: the jobs belong to other workers."""
        self._marked.clear()
