"""What is counted of jobs, by the minute and later by the hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db.models import Min, Sum
from django.db.models.functions import ExtractMinute
from django.utils import timezone

from ...models import Statistic, Worker
from ...models.statistic import FIGURES, HOUR, MINUTES_KEPT
from ..session import Part, repeated
from .clock import DatabaseNow

#: The columns that are unique together.
KEYS = ("backend", "moment", "queue_name", "task_name")
#: Queue and task.
Label = tuple[str, str]
Figures = Mapping[str, float]


class Statistics(Part):
    #: What makes an insert add to the rows that are there: the clause, and its term for each column.
    adding = "ON CONFLICT ({keys}) DO UPDATE SET {sums}"
    sum = "{column} = {table}.{column} + EXCLUDED.{column}"

    def _clock(self) -> datetime:
        """The time by the clock of the database."""
        # Any row will do to ask by, and a worker always has one. In a table without, the host's clock will.
        row = Worker.objects.using(self.alias).order_by("id").annotate(now=DatabaseNow())
        found: datetime | None = row.values_list("now", flat=True).first()
        return timezone.now() if found is None else found

    @repeated
    def count(self, backend: str, counted: Mapping[Label, Figures]) -> None:
        with self.session.transaction():
            moment = self._clock().replace(second=0, microsecond=0)
            self._add(backend, moment, counted)

    def _add(self, backend: str, moment: datetime, counted: Mapping[Label, Figures]) -> None:
        """Add figures to the rows of a moment, which are inserted where they are missing."""
        operations, table = self.connection.ops, Statistic._meta.db_table
        quote, at = operations.quote_name, operations.adapt_datetimefield_value(moment)
        figures, keys = [quote(name) for name in FIGURES], [quote(name) for name in KEYS]
        columns = [*keys, *figures]
        sums = ", ".join(self.sum.format(table=quote(table), column=column) for column in figures)
        adding = self.adding.format(keys=", ".join(keys), sums=sums)
        rows = [
            (backend, at, queue, task, *(found.get(name, 0) for name in FIGURES))
            # In one order everywhere, so that two workers never wait for each other.
            for (queue, task), found in sorted(counted.items())
            if any(found.values())
        ]
        at_once = (self.connection.features.max_query_params or 10_000) // len(columns)
        places = f"({', '.join(['%s'] * len(columns))})"
        with self.connection.cursor() as cursor:
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                cursor.execute(
                    f"INSERT INTO {quote(table)} ({', '.join(columns)}) "  # noqa: S608 - names of columns
                    f"VALUES {', '.join([places] * len(some))} {adding}",
                    [value for row in some for value in row],
                )

    @repeated
    def fold(self, backend: str) -> int:
        rows = Statistic.objects.using(self.alias).filter(backend=backend)
        with self.session.transaction():
            last = self._clock().replace(minute=0, second=0, microsecond=0) - MINUTES_KEPT
            # Not in the project's time zone, whose hours may begin at half past the world's.
            minutes = rows.annotate(minute=ExtractMinute("moment", tzinfo=UTC)).filter(minute__gt=0)
            first = minutes.filter(moment__lt=last).aggregate(first=Min("moment"))["first"]
            if first is None:
                return 0
            hour = first.replace(minute=0)
            within = rows.filter(moment__gte=hour, moment__lt=hour + HOUR)
            if self.connection.features.has_select_for_update:
                within = within.select_for_update()
            ids = list(within.order_by("id").values_list("id", flat=True))
            mine = rows.filter(id__in=ids, moment__gt=hour)
            sums = (
                mine.order_by()
                .values("queue_name", "task_name")
                .annotate(**{f"sum_{name}": Sum(name) for name in FIGURES})
            )
            rows_of: Any = sums
            self._add(
                backend,
                hour,
                {
                    (row["queue_name"], row["task_name"]): {name: row[f"sum_{name}"] for name in FIGURES}
                    for row in rows_of
                },
            )
            return int(mine.delete()[0])

    @repeated
    def forget(self, backend: str, older_than: float, limit: int = 1000) -> int:
        old = Statistic.objects.using(self.alias).filter(backend=backend, moment__lt=DatabaseNow(-older_than))
        ids = list(old.order_by("moment").values_list("id", flat=True)[:limit])
        return Statistic.objects.using(self.alias).filter(id__in=ids).delete()[0] if ids else 0
