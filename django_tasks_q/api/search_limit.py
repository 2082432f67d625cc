"""How far a list of jobs looks: a filter that finds few would else have the whole table read."""

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

#: Jobs that one page looks at, of those that no index tells apart: they lie side by side.
REACH = 20_000
#: The same of those that an index finds. Each may lie by itself in the table, which takes ten times as long.
SCATTERED = 2_000
#: An order by id which no index has: all that the filters find is put in order.
ASIDE = "aside"


class Reached(NamedTuple):
    """Jobs within reach; by what they are to be ordered; and the last id looked at, unless all were."""

    jobs: JobQuerySet
    order: str
    end: UUID | None


def within_reach(jobs: JobQuerySet, request: Request, cursor: Cursor | None) -> Reached:
    """Those of the jobs that one page looks at, from where its cursor stands.

    Finds out by an index alone how many those are, whatever the filters and SCOPE_JOBS leave of them.
    """
    given = request.query_params
    status, everything = given.get("status"), Job.objects.using(database())
    if "parent" in given and not _is_long(everything.filter(parent_id=given["parent"]), "parent_id"):
        return Reached(_aside(jobs), ASIDE, None)
    if status in (JobStatus.READY, JobStatus.SCHEDULED, JobStatus.RUNNING):
        order = INDEXED[JobStatus(status)]
        if not _is_long(everything.filter(status=status).order_by(*order), order[0]):
            return Reached(_aside(jobs), ASIDE, None)
    elif status in (None, JobStatus.FAILED) and not (set(given) & SEARCHED or is_narrowed(request)):
        return Reached(jobs, "id", None)  # there is an index of just these
    rows = filtered(everything, {name: given[name] for name in TIMES if name in given}, request)
    reach = REACH
    if status == JobStatus.FAILED:
        rows, reach = rows.filter(status=status), SCATTERED
    upward = cursor is not None and cursor.reverse
    if cursor is not None and cursor.position is not None:
        rows = rows.filter(**{"id__gt" if upward else "id__lt": UUID(str(cursor.position))})
    ids = rows.order_by("id" if upward else "-id").values_list("id", flat=True)
    end = next(iter(ids[reach - 1 : reach]), None)
    if end is not None:
        jobs = jobs.filter(**{"id__lte" if upward else "id__gte": end})
    return Reached(jobs, "id", end)


#: Filters whose jobs lie anywhere.
SEARCHED = {"queue", "task", "tag", "parent"}


def moment_of(id: UUID) -> datetime:
    """When a job of that id was enqueued."""
    return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)


def _is_long(rows: JobQuerySet, column: str) -> bool:
    """Whether there are more rows than are put in order for a page."""
    return bool(rows.values_list(column.lstrip("-"))[SCATTERED : SCATTERED + 1])


def _aside(jobs: JobQuerySet) -> JobQuerySet:
    nobody = Value(UUID(int=0), output_field=UUIDField())
    found: JobQuerySet = jobs.annotate(**{ASIDE: NullIf("id", nobody)})
    return found
