"""Queries over many jobs for people to read. Each reads a bounded number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import (
    Case,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast

from ...lifecycle.states import JobStatus
from ...models import Attempt
from ...models.job import CLAIM_ORDER, JobQuerySet

#: Columns by which jobs are grouped when they are counted.
KINDS = ("status", "kind_task", "kind_worker", "kind_again")
#: Per state, the order of the index that holds its jobs and no others. The id at its end makes the order
#: total.
INDEXED = {
    JobStatus.READY: ("backend", *CLAIM_ORDER),
    JobStatus.SCHEDULED: ("backend", "run_after", "id"),
    JobStatus.RUNNING: ("worker_id", "id"),
    JobStatus.FAILED: ("id",),
}
#: The order of all jobs, by the index of the ids.
BY_ID = ("id",)


def capped_counts(alias: str, jobs: JobQuerySet, cap: int) -> list[tuple[Any, ...]]:
    """State, task, worker, whether it is to be retried, and number of jobs of each kind: one statement.

    Of each state with an index, at most ``cap`` jobs are read, in the order of the index; of the others
    those that are among the ``cap`` newest.
    """
    sources = [
        _kinds(jobs.filter(_open(status), status=status).order_by(*order), cap, status)
        for status, order in INDEXED.items()
    ]
    return _counted(alias, [*sources, _kinds(jobs.order_by("-id"), cap, None)], skip=tuple(INDEXED))


def edge(jobs: QuerySet[Any], order: Sequence[str], reach: int) -> tuple[Any, ...] | None:
    """The values, by the columns of an order, of the ``reach``-th row; None if there are no more than that.

    A search between two edges reads at most ``reach`` rows, however few it finds.
    """
    found = jobs.order_by(*order).values_list(*map(column_of, order))[reach - 1 : reach + 1]
    rows = list(found)
    return rows[0] if len(rows) == 2 else None


def behind(order: Sequence[str], start: Sequence[Any]) -> Q:
    """Rows that come after the one with these values."""
    return _beyond(order, start, falls=False)


def up_to(order: Sequence[str], end: Sequence[Any]) -> Q:
    """Rows that come before the one with these values, and that one."""
    equal = Q(**dict(zip(map(column_of, order), end, strict=True)))
    return _beyond(order, end, falls=True, more=equal)


def column_of(term: str) -> str:
    """The column of a term of an order."""
    return term.removeprefix("-")


def _beyond(order: Sequence[str], values: Sequence[Any], *, falls: bool, more: Q | None = None) -> Q:
    found, equal = more or Q(), Q()
    for term, value in zip(order, values, strict=True):
        name = column_of(term)
        is_less = term.startswith("-") is not falls
        found |= equal & Q(**{f"{name}__{'lt' if is_less else 'gt'}": value})
        equal &= Q(**{name: value})
    first = column_of(order[0])
    is_less = order[0].startswith("-") is not falls
    # Said once more for the index's sake, which cannot use an OR.
    return Q(**{f"{first}__{'lte' if is_less else 'gte'}": values[0]}) & found


def with_exception(jobs: JobQuerySet) -> Any:
    """Jobs with the class of the exception of their last attempt, as ``exception``."""
    attempts = Attempt._default_manager.using(jobs.db).filter(job=OuterRef("pk")).order_by("-fence")
    return jobs.annotate(exception=Subquery(attempts.values("exception_class")[:1]))


def _open(status: JobStatus) -> Q:
    return Q(dismissed_at__isnull=True) if status is JobStatus.FAILED else Q()


def _kinds(jobs: JobQuerySet, cap: int, status: JobStatus | None) -> Any:
    """The columns that are of interest in a state; the others are alike, which is quicker to group by."""
    is_ready, is_running = status is JobStatus.READY, status is JobStatus.RUNNING
    text, number = TextField(), IntegerField()
    nothing = Value("", output_field=text)
    runs = When(Q(attempts__gt=0) | Q(crashes__gt=0), then=Value(1))
    again = Case(runs, default=Value(0), output_field=number)
    columns: dict[str, Any] = {
        "kind_task": F("task_name") if is_ready else nothing,
        "kind_worker": Cast(F("worker_id"), text) if is_running else nothing,
        "kind_again": again if status is JobStatus.SCHEDULED else Value(0, output_field=number),
    }
    return jobs.annotate(**columns).values("status", *columns)[:cap]


def _counted(alias: str, sources: Iterable[Any], skip: Sequence[str]) -> list[tuple[Any, ...]]:
    quote = connections[alias].ops.quote_name
    kinds = ", ".join(map(quote, KINDS))
    parts: list[str] = []
    values: list[Any] = []
    for number, source in enumerate(sources):
        try:
            sql, parameters = source.query.get_compiler(alias).as_sql()
        except EmptyResultSet:
            continue
        # Names are the model's own, values are parameters.
        part = quote(f"part_{number}")
        parts.append(
            f"SELECT {number}, {kinds}, COUNT(*) FROM ({sql}) AS {part} GROUP BY {kinds}"  # noqa: S608
        )
        values += parameters
    if not parts:
        return []
    with connections[alias].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        rows = cursor.fetchall()
    # Jobs of a state with an index are counted in that part.
    last = len(INDEXED)
    return [tuple(row[1:]) for row in rows if row[0] < last or row[1] not in skip]
