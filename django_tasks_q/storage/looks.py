"""Looks at many jobs at once, each bounded in what it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Case, F, IntegerField, Q, TextField, Value, When
from django.db.models.functions import Cast

from ..models.job import JobQuerySet
from ..states import JobStatus

#: By which jobs are told apart when they are counted.
KINDS = ("status", "kind_backend", "kind_queue", "kind_task", "kind_worker", "kind_again")
#: Per state, the order of the index that holds its jobs and no others.
INDEXED = {
    JobStatus.READY: ("backend", "-priority", "id"),
    JobStatus.SCHEDULED: ("run_after",),
    JobStatus.RUNNING: ("worker_id",),
    JobStatus.FAILED: ("id",),
}


def tally(alias: str, jobs: JobQuerySet, cap: int) -> list[tuple[Any, ...]]:
    """How many jobs of each kind there are, and the text of the first ready one's id: one statement.

    Of each state with an index, at most ``cap`` jobs are read, in the order of the index; of the others
    those that are among the ``cap`` newest.
    """
    sources = [
        _kinds(jobs.filter(_open(status), status=status).order_by(*order), cap, status)
        for status, order in INDEXED.items()
    ]
    return _counted(alias, [*sources, _kinds(jobs.order_by("-id"), cap, None)], skip=tuple(INDEXED))


def horizon(alias: str, jobs: JobQuerySet, reach: int) -> str | None:
    """The text of the smallest id among the ``reach`` newest jobs of a query; None if these are all."""
    ids = jobs.order_by("-id").annotate(text=Cast("id", TextField())).values("text")[:reach]
    rows = _one(alias, ids, "SELECT COUNT(*), MIN({text}) FROM ({sql}) AS reached")
    return None if not rows or rows[0][0] < reach else str(rows[0][1])


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
        "kind_backend": nothing if status is None else F("backend"),
        "kind_queue": nothing if status is None else F("queue_name"),
        "kind_task": F("task_name") if is_ready else nothing,
        "kind_worker": Cast(F("worker_id"), text) if is_running else nothing,
        "kind_again": again if status is JobStatus.SCHEDULED else Value(0, output_field=number),
        "kind_first": Cast(F("id"), text) if is_ready else nothing,
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
        parts.append(
            f"SELECT {number}, {kinds}, COUNT(*), MIN({quote('kind_first')}) FROM ({sql}) AS "  # noqa: S608
            f"{quote(f'part_{number}')} GROUP BY {kinds}"
        )
        values += parameters
    if not parts:
        return []
    with connections[alias].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        rows = cursor.fetchall()
    # What has an index of its own is counted there.
    last = len(INDEXED)
    return [tuple(row[1:]) for row in rows if row[0] < last or row[1] not in skip]


def _one(alias: str, source: Any, template: str) -> list[tuple[Any, ...]]:
    try:
        sql, parameters = source.query.get_compiler(alias).as_sql()
    except EmptyResultSet:
        return []
    text = connections[alias].ops.quote_name("text")
    with connections[alias].cursor() as cursor:
        cursor.execute(template.format(text=text, sql=sql), parameters)
        return list(cursor.fetchall())
