"""Searches for the jobs that an action on a filter applies to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q

from ..lifecycle.states import JobStatus
from ..models import Job
from ..models.job import JobQuerySet
from ..storage.orm.monitoring import BY_ID, INDEXED, behind, column_of, edge, up_to
from .done import Matching
from .selection import Selection

#: The rows of an index that one slice of a search reads.
REACH = 10_000
#: The rows that a search reads in all while a request waits for it.
BUDGET = 200_000


def matching(jobs: JobQuerySet, cap: int = 1000) -> Matching:
    """Return the ids of at most ``cap`` jobs of a query, the oldest first, and whether there are more.

    Jobs are ordered by their ids, which never change, so that a second call after an action continues where
    the first one ended. Raise ValueError for a cap below 1 and for a sliced query.
    """
    if cap < 1:
        raise ValueError(f"cap must be at least 1, not {cap}.")
    if jobs.query.is_sliced:
        raise ValueError("matching() takes a query that is not sliced.")
    if jobs.model is not Job:
        raise ValueError("matching() takes a query of jobs.")
    ids = list(jobs.order_by("id").values_list("id", flat=True)[: cap + 1])
    return Matching(ids[:cap], len(ids) > cap)


def collected(selection: Selection, jobs: JobQuerySet, cap: int, budget: int | None = None) -> Matching:
    """Return the ids of at most ``cap`` jobs of a selection, and whether there are or may be more.

    ``budget`` is the greatest number of rows that are read. There may be more jobs once it is used up.
    """
    walk, read, reach = Walk(selection, jobs), 0, REACH
    ids: list[UUID] = []
    while not walk.is_over and len(ids) <= cap and (budget is None or read < budget):
        reach = reach if budget is None else min(reach, budget - read)
        ids += walk.ids(cap + 1 - len(ids), reach)
        read += reach if walk.searches else 0
        # The first slice is quick where jobs are frequent, and the slices are few where jobs are rare.
        reach *= 4
    return Matching(ids[:cap], len(ids) > cap or not walk.is_over)


class Walk:
    """A search for the jobs of a selection, slice by slice, along the indexes that contain them.

    It finds each job once. A slice reads a bounded number of rows, whatever the size of the table.
    """

    def __init__(
        self, selection: Selection, jobs: JobQuerySet, position: Sequence[Any] | None = None
    ) -> None:
        """``position`` is what ``stored()`` of an earlier search returned, to continue from there."""
        self.selection, self.jobs = selection, jobs
        self.parts = _parts(selection)
        self._part, self._after = (0, None) if not position else self._restored(position)

    @property
    def is_over(self) -> bool:
        return self._part >= len(self.parts)

    @property
    def searches(self) -> bool:
        """Whether other jobs are in the same index, so that a slice may find nothing before the end."""
        return not self.is_over and self._searches(self.parts[self._part])

    def ids(self, size: int, reach: int | None = None) -> list[UUID]:
        """Return the ids of the next jobs, at most ``size``. There are no more once ``is_over`` is true."""
        if self.is_over:
            return []
        part = self.parts[self._part]
        rows, end = self._left(part, self._rows(part)), None
        if self._searches(part):
            around = part.of(Job.objects.using(self.jobs.db))
            if part.order == BY_ID:
                around = self.selection.in_time(around)
            end = edge(self._left(part, around), part.order, reach or REACH)
            if end is not None:
                rows = rows.filter(up_to(part.order, end))
        found = list(rows.order_by(*part.order).values_list(*map(column_of, part.order))[:size])
        if len(found) == size:
            self._after = found[-1]
        elif end is not None:
            self._after = end
        else:
            self._part, self._after = self._part + 1, None
        return [values[-1] for values in found]

    def count(self) -> int:
        """Return how many jobs are left. The rows that this reads are not bounded."""
        parts = self.parts[self._part :]
        found = [self._rows(part) for part in parts]
        if found:
            found[0] = self._left(parts[0], found[0])
        return sum(rows.count() for rows in found)

    def stored(self) -> list[Any]:
        """Return the position of the next slice in JSON types."""
        texts = [value.isoformat() if isinstance(value, datetime) else value for value in self._after or ()]
        return [self._part, *(value if isinstance(value, int) else str(value) for value in texts)]

    def _restored(self, position: Sequence[Any]) -> tuple[int, tuple[Any, ...] | None]:
        number, *texts = position
        if not texts:
            return number, None
        columns = map(column_of, self.parts[number].order)
        fields: list[Any] = [Job._meta.get_field(name) for name in columns]
        return number, tuple(field.to_python(text) for field, text in zip(fields, texts, strict=True))

    def _rows(self, part: Part) -> JobQuerySet:
        rows = part.of(self.selection.of(self.jobs))
        return rows.filter(status__in=part.states) if part.states else rows

    def _left(self, part: Part, rows: JobQuerySet) -> JobQuerySet:
        return rows if self._after is None else rows.filter(behind(part.order, self._after))

    def _searches(self, part: Part) -> bool:
        # The scope of a tenant narrows the search like a filter.
        is_narrow = self.selection.is_narrow or bool(self.jobs.query.where)
        return not self.selection.is_direct and (is_narrow or bool(part.states))


class Part(NamedTuple):
    """The jobs of one index, and its order."""

    within: Q
    order: tuple[str, ...]
    #: The states to filter by, where the index has jobs of other states too.
    states: tuple[str, ...] = ()

    def of(self, jobs: JobQuerySet) -> JobQuerySet:
        return jobs.filter(self.within) if self.within else jobs


def _parts(selection: Selection) -> list[Part]:
    states = (selection.status,) if selection.status else selection.states
    if not states:
        return [Part(Q(), BY_ID)]
    parts = [part for state in states if state in INDEXED for part in _indexed(JobStatus(state))]
    others = tuple(state for state in states if state not in INDEXED)
    return [*parts, Part(Q(), BY_ID, others)] if others else parts


def _indexed(status: JobStatus) -> list[Part]:
    """Return the parts of the index of a state.

    Rows in which one of its columns is NULL are a part by themselves, since no comparison finds the row after
    NULL.
    """
    order, within = INDEXED[status], Q(status=status)
    nullable = [column for column in map(column_of, order) if Job._meta.get_field(column).null]
    if not nullable:
        return [Part(within, order)]
    is_empty = Q(**{f"{nullable[0]}__isnull": True})
    return [Part(within & ~is_empty, order), Part(within & is_empty, BY_ID)]
