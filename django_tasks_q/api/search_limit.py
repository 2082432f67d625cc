"""The limit of searches for jobs: without it, a filter that finds few would read the whole table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import UUIDField, Value
from django.db.models.functions import NullIf
from rest_framework.pagination import Cursor
from rest_framework.request import Request

from ..access import database, is_narrowed
from ..lifecycle.states import JobStatus
from ..models import Job
from ..models.job import JobQuerySet
from ..storage.orm.monitoring import INDEXED
from .filters import TIMES, filtered

#: How many jobs a page reads along the primary key, where jobs are stored next to each other.
SEARCH_LIMIT = 20_000
#: The same along other indexes, whose jobs are scattered over the table, which takes ten times as long.
SCATTERED_LIMIT = 2_000
#: An expression equal to the id that no index contains: the database sorts what the filters find.
UNINDEXED = "aside"


class Searched(NamedTuple):
    """Jobs within the limit, the column to order them by, and the last id within it (None without limit)."""

    jobs: JobQuerySet
    order: str
    end: UUID | None


def searched(jobs: JobQuerySet, request: Request, cursor: Cursor | None) -> Searched:
    """Return the jobs that one page reads, starting at its cursor.

    The limit is found with an index alone, whatever the filters and SCOPE_JOBS leave of the jobs.
    """
    given = request.query_params
    status, everything = given.get("status"), Job.objects.using(database())
    if "parent" in given and not _is_long(everything.filter(parent_id=given["parent"]), "parent_id"):
        return Searched(_unindexed(jobs), UNINDEXED, None)
    if status in (JobStatus.READY, JobStatus.SCHEDULED, JobStatus.RUNNING):
        order = INDEXED[JobStatus(status)]
        if not _is_long(everything.filter(status=status).order_by(*order), order[0]):
            return Searched(_unindexed(jobs), UNINDEXED, None)
    elif status in (None, JobStatus.FAILED) and not (set(given) & SCATTERED_FILTERS or is_narrowed(request)):
        return Searched(jobs, "id", None)  # an index has exactly these jobs in this order
    rows = filtered(everything, {name: given[name] for name in TIMES if name in given}, request)
    limit = SEARCH_LIMIT
    if status == JobStatus.FAILED:
        rows, limit = rows.filter(status=status), SCATTERED_LIMIT
    upward = cursor is not None and cursor.reverse
    if cursor is not None and cursor.position is not None:
        rows = rows.filter(**{"id__gt" if upward else "id__lt": UUID(str(cursor.position))})
    ids = rows.order_by("id" if upward else "-id").values_list("id", flat=True)
    end = next(iter(ids[limit - 1 : limit]), None)
    if end is not None:
        jobs = jobs.filter(**{"id__lte" if upward else "id__gte": end})
    return Searched(jobs, "id", end)


#: The filters whose jobs are scattered over the table.
SCATTERED_FILTERS = {"queue", "task", "tag", "parent"}


def moment_of(id: UUID) -> datetime:
    """Return the time at which the job with this id was enqueued."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)


def _is_long(rows: JobQuerySet, column: str) -> bool:
    """Return whether there are too many rows to sort them for a page."""
    return bool(rows.values_list(column.lstrip("-"))[SCATTERED_LIMIT : SCATTERED_LIMIT + 1])


def _unindexed(jobs: JobQuerySet) -> JobQuerySet:
    nil = Value(UUID(int=0), output_field=UUIDField())
    found: JobQuerySet = jobs.annotate(**{UNINDEXED: NullIf("id", nil)})
    return found
