"""For verbs on all jobs that a filter finds."""

from __future__ import annotations

from ..models import Job
from ..models.job import JobQuerySet
from .answers import Matching


def matching(jobs: JobQuerySet, cap: int = 1000) -> Matching:
    """The ids of at most ``cap`` jobs of a query, the oldest first, and whether there are more.

    In the order of the ids, whatever the query's own: that never changes, so a second call after a verb
    goes on where the first one ended. Raises ValueError for a cap below 1, or a query that is sliced.
    """
    if cap < 1:
        raise ValueError(f"cap must be at least 1, not {cap}.")
    if jobs.query.is_sliced:
        raise ValueError("matching() takes a query that is not sliced.")
    if jobs.model is not Job:
        raise ValueError("matching() takes a query of jobs.")
    ids = list(jobs.order_by("id").values_list("id", flat=True)[: cap + 1])
    return Matching(ids[:cap], len(ids) > cap)
