from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db import models
from django.db.models import F, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

#: The longest runs that each column of the histogram counts, in seconds: powers of four from a millisecond.
BOUNDS: tuple[float, ...] = tuple(0.001 * 4**power for power in range(11))
BUCKETS = tuple(f"took_{number}" for number in range(len(BOUNDS) + 1))

#: What is counted, and what is added up. Each is a column.
COUNTS = ("started", "successful", "failed", "retried", "crashed", "cancelled", "expired")
SUMS = ("seconds_run", "seconds_waited")
FIGURES = (*COUNTS, *SUMS, *BUCKETS)

#: Rows older than this are an hour each.
MINUTES_KEPT = timedelta(hours=3)
HOUR = timedelta(hours=1)


class Point(NamedTuple):
    """What happened in one step of a series."""

    moment: datetime
    figures: dict[str, Any]


class StatisticQuerySet(models.QuerySet["Statistic"]):
    def of(self, backend: str) -> Self:
        return self.filter(backend=backend)

    def since(self, moment: datetime) -> Self:
        return self.filter(moment__gte=moment)

    def totals(self) -> dict[str, Any]:
        """Return every figure, added up."""
        sums: dict[str, Any] = self.aggregate(**_sums())
        return {name: sums[name] or 0 for name in FIGURES}

    def series(self, since: datetime, step: timedelta = timedelta(minutes=1)) -> list[Point]:
        """Return the figures of each ``step`` from ``since`` until now, the empty ones included.

        Where that goes back further than single minutes are kept, steps are hours at least. Raises
        ValueError for a step that is not a number of whole minutes, or that makes more than 10,000.
        """
        now = timezone.now()
        if step < timedelta(minutes=1) or step % timedelta(minutes=1):
            raise ValueError(f"step must be whole minutes, not {step!r}.")
        if now - since > MINUTES_KEPT:
            step = -(-step // HOUR) * HOUR
        first = since - _past(since, step)
        count = (now - first) // step + 1
        if count > 10_000:
            raise ValueError(f"{count} steps are too many.")
        points = [Point(first + step * number, dict.fromkeys(FIGURES, 0)) for number in range(count)]
        rows = self.since(first).order_by().values("moment").annotate(**_sums())
        for row in rows:
            if 0 <= (index := (row["moment"] - first) // step) < count:
                _add(points[index].figures, row)
        return points

    def by_task(self, since: datetime) -> list[dict[str, Any]]:
        """Return the figures of each task, the busiest first."""
        return self._by("task_name", since)

    def by_queue(self, since: datetime) -> list[dict[str, Any]]:
        """Return the figures of each queue, the busiest first."""
        return self._by("queue_name", since)

    def _by(self, column: str, since: datetime) -> list[dict[str, Any]]:
        rows = self.since(since).order_by().values(column).annotate(**_sums())
        return sorted(rows, key=lambda row: (-row["seconds_run"], row[column]))

    def percentiles(self, *shares: float) -> dict[float, float | None]:
        """Return the seconds that shares of the runs took at most; by default of 50 and 95 percent.

        None where nothing has run. Each is a bound, and not the exact figure: the end of a column of the
        histogram, or less where so many runs of that length would have taken longer than all together.
        """
        return percentiles(self.totals(), *shares)


def percentiles(figures: Mapping[str, Any], *shares: float) -> dict[float, float | None]:
    """Return the percentiles of one row of figures, such as one of ``by_task()``."""
    counts = [figures[name] for name in BUCKETS]
    seconds = figures["seconds_run"]
    return {share: _percentile(counts, share, seconds) for share in shares or (0.5, 0.95)}


def _percentile(counts: list[int], share: float, seconds: float) -> float | None:
    total = sum(counts)
    if not total:
        return None
    rank, below = max(1, math.ceil(share * total)), 0
    # That run and all longer ones together took no more than all.
    most = seconds / (total - min(rank, total) + 1)
    for count, low, high in zip(counts, (0.0, *BOUNDS), (*BOUNDS, math.inf), strict=True):
        below += count
        if below >= rank:
            return min(most, high) if most >= low else high if high < math.inf else low
    return BOUNDS[-1]


def _sums() -> dict[str, Sum]:
    return {name: Sum(F(name)) for name in FIGURES}


def _add(figures: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name in FIGURES:
        figures[name] += more[name] or 0


def _past(moment: datetime, step: timedelta) -> timedelta:
    """Return how long ago the last whole step was, counted from midnight."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return (moment - midnight) % step


class Statistic(models.Model):
    """What became of a task's jobs in a queue within a minute, or within an hour that is long past."""

    backend = models.CharField(_("backend"), max_length=128)
    moment = models.DateTimeField(_("moment"))
    queue_name = models.CharField(_("queue"), max_length=128)
    task_name = models.CharField(_("task"), max_length=255)
    started = models.IntegerField(_("started"), default=0)
    successful = models.IntegerField(_("successful"), default=0)
    failed = models.IntegerField(_("failed"), default=0)
    retried = models.IntegerField(_("retried"), default=0)
    crashed = models.IntegerField(_("crashed"), default=0)
    cancelled = models.IntegerField(_("cancelled"), default=0)
    expired = models.IntegerField(_("expired"), default=0)
    seconds_run = models.FloatField(_("seconds run"), default=0)
    seconds_waited = models.FloatField(_("seconds waited"), default=0)
    # How many runs took at most 1 ms, 4 ms, 16 ms and so on, and in the last one longer than all those.
    took_0 = models.IntegerField(default=0)
    took_1 = models.IntegerField(default=0)
    took_2 = models.IntegerField(default=0)
    took_3 = models.IntegerField(default=0)
    took_4 = models.IntegerField(default=0)
    took_5 = models.IntegerField(default=0)
    took_6 = models.IntegerField(default=0)
    took_7 = models.IntegerField(default=0)
    took_8 = models.IntegerField(default=0)
    took_9 = models.IntegerField(default=0)
    took_10 = models.IntegerField(default=0)
    took_11 = models.IntegerField(default=0)

    objects = StatisticQuerySet.as_manager()

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("statistic")
        verbose_name_plural = _("statistics")
        default_permissions = ()  # shown with the permission to view jobs
        constraints = [
            models.UniqueConstraint(
                fields=["backend", "moment", "queue_name", "task_name"], name="dtq_statistic_of_moment"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_name} in {self.queue_name}, {self.moment:%Y-%m-%d %H:%M}"
