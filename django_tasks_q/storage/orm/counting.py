"""Counts that stop at a cap, many of them in one query."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from ..timestamps import native

#: Rows that are counted of each sort.
CAP = 10_000

Key = TypeVar("Key", bound=Hashable)


class Count(NamedTuple):
    """How many rows there are, and the least value among those that were counted."""

    number: int
    is_capped: bool
    least: datetime | None


def counts(
    querysets: Mapping[Key, QuerySet[Any]], column: str, using: str, cap: int = CAP
) -> dict[Key, Count]:
    """At most ``cap`` rows of each query, and the least ``column``, a date and time, of those."""
    if not querysets:
        return {}
    parts: list[str] = []
    values: list[Any] = []
    for number, rows in enumerate(querysets.values()):
        # Unordered, so that the database may stop at the first rows it meets, in whatever order.
        query = rows.order_by().values_list(column)[: cap + 1].query
        try:
            sql, params = query.get_compiler(using).as_sql()
        except EmptyResultSet:  # the user may see none
            continue
        name = connections[using].ops.quote_name(column)
        parts.append(" ".join(["SELECT %s, COUNT(*), MIN(", name, ") FROM (", sql, ") AS counted"]))
        values += [number, *params]
    if not parts:
        return dict.fromkeys(querysets, Count(0, False, None))
    with connections[using].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), values)
        found = {
            int(number): (int(count), moment_of(least, using)) for number, count, least in cursor.fetchall()
        }
    answers: dict[Key, Count] = {}
    for number, key in enumerate(querysets):
        count, least = found.get(number, (0, None))
        answers[key] = Count(min(count, cap), count > cap, least)
    return answers


def moment_of(value: Any, using: str) -> datetime | None:
    """The date and time, as Django has them, from what a driver hands out unconverted."""
    if isinstance(value, str):
        value = parse_datetime(value)
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        # Without USE_TZ there is no zone of the connection: what is stored is the project's local time.
        value = value.replace(tzinfo=connections[using].timezone or timezone.get_default_timezone())
    return native(value)
