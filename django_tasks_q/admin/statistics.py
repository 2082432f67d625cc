"""Statistics for charts and for tables of tasks, from the table of statistics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Sum
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..access import database
from ..models import Statistic
from ..models.statistic import HOUR, percentiles
from ..storage.timestamps import local
from . import formatting
from .charts import Chart, Step, sparkline, stacked
from .choices import database_backends

#: The spans of the chart: label, length and step.
SPANS = {
    "1h": (gettext_lazy("1 hour"), timedelta(hours=1), timedelta(minutes=2)),
    "24h": (gettext_lazy("24 hours"), timedelta(hours=24), HOUR),
    "7d": (gettext_lazy("7 days"), timedelta(days=7), 6 * HOUR),
}
DAY = timedelta(hours=24)
GOOD = ("successful",)
#: Outcomes of failed attempts, whether or not a retry followed.
BAD = ("failed", "retried", "crashed")


#: Windows in which recent failures are counted, in minutes.
RECENT = (5, 60)


class Window(NamedTuple):
    """The failures of the last minutes, and the number of attempts, or None if that is unknown."""

    minutes: int
    wrong: int
    ended: int | None

    @property
    def share(self) -> float | None:
        if self.ended is None:
            return None
        return self.wrong / self.ended if self.ended else 0.0

    @property
    def text(self) -> str:
        values = {"wrong": f"{self.wrong:,}", "minutes": self.minutes}
        if self.ended is None:
            text = ngettext(
                "%(wrong)s job has failed in the last %(minutes)d minutes.",
                "%(wrong)s jobs have failed in the last %(minutes)d minutes.",
                self.wrong,
            )
            return text % values
        if not self.ended:
            return _("No attempt has ended in the last %(minutes)d minutes.") % values
        text = ngettext(
            "%(wrong)s of %(ended)s attempt has failed in the last %(minutes)d minutes.",
            "%(wrong)s of %(ended)s attempts have failed in the last %(minutes)d minutes.",
            self.ended,
        )
        return text % {**values, "ended": f"{self.ended:,}"}


class Recent(NamedTuple):
    """Recent failures, the shortest window first."""

    windows: list[Window]

    @property
    def text(self) -> str:
        return self.windows[-1].text

    @classmethod
    def of_jobs(cls, jobs: Any, reach: int = 5_000) -> Recent:
        """Count the failures among ``jobs``, for users who may not see the statistics of all jobs.

        Only the newest ``reach`` failures are counted.
        """
        times = jobs.undismissed().order_by("-id").values_list("finished_at", flat=True)[:reach]
        found, now = [time for time in times if time is not None], timezone.now()
        ages = [now - time for time in found]
        return cls(
            [
                Window(minutes, sum(age < timedelta(minutes=minutes) for age in ages), None)
                for minutes in RECENT
            ]
        )


class Span(NamedTuple):
    """The statistics of a span: over time, and by queue."""

    chart: Chart
    queues: dict[str, tuple[str, int, int]]
    #: The jobs that have failed within a day, and recent failures, if ``lately`` was set.
    failed_lately: int = 0
    recent: Recent | None = None


def _rows() -> Any:
    # Filtered by the backend, which is the first column of the index.
    return Statistic.objects.using(database()).filter(backend__in=database_backends())


class _Series:
    """The attempts of each step of time, and of each queue."""

    def __init__(self, first: datetime, step: timedelta, count: int) -> None:
        self.first, self.step = first, step
        self.good, self.bad = [0] * count, [0] * count
        #: By queue: the attempts that have ended in each step.
        self.ended: dict[str, list[int]] = defaultdict(lambda: [0] * count)
        #: By queue: the attempts that were started, and those that have ended.
        self.sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, row: dict[str, Any]) -> None:
        index = int((row["moment"] - self.first) // self.step)
        if not 0 <= index < len(self.good):
            return
        good, bad, queue = _sum(row, GOOD), _sum(row, BAD), row["queue_name"]
        self.good[index] += good
        self.bad[index] += bad
        self.ended[queue][index] += good + bad
        self.sums[queue][0] += row["sum_started"] or 0
        self.sums[queue][1] += good + bad

    def steps(self) -> list[Step]:
        numbers = enumerate(zip(self.good, self.bad, strict=True))
        return [Step(self.first + self.step * number, good, bad) for number, (good, bad) in numbers]

    def queues(self) -> dict[str, tuple[str, int, int]]:
        """Return, by queue, a sparkline of the attempts that have ended, and both sums."""
        return {
            name: (sparkline(values), self.sums[name][0], self.sums[name][1])
            for name, values in self.ended.items()
        }


class _RecentFailures:
    """The jobs that have failed within a day, and the failed attempts of each window of ``RECENT``."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.failed_jobs = 0
        self.failed, self.ended = [0] * len(RECENT), [0] * len(RECENT)

    def add(self, row: dict[str, Any]) -> None:
        if row["moment"] < self.now - DAY:
            return
        self.failed_jobs += row["sum_failed_jobs"] or 0
        failed = _sum(row, (*BAD, "expired"))
        for number, minutes in enumerate(RECENT):
            if row["moment"] > self.now - timedelta(minutes=minutes):
                self.failed[number] += failed
                self.ended[number] += failed + _sum(row, GOOD)

    def recent(self) -> Recent:
        return Recent(list(map(Window, RECENT, self.failed, self.ended)))


def _sum(row: dict[str, Any], columns: Iterable[str]) -> int:
    return sum(row[f"sum_{column}"] or 0 for column in columns)


def span_of(name: str, *, lately: bool = False) -> Span:
    """Return the statistics of a span. It takes one query.

    With ``lately`` at least one day is read, to count recent failures.
    """
    _label, length, step = SPANS[name]
    now = timezone.now()
    first = _rounded_down(now - length + step, step)
    series = _Series(first, step, int((now - first) // step) + 1)
    failures = _RecentFailures(now) if lately else None
    columns = {f"sum_{column}": Sum(column) for column in ("started", *GOOD, *BAD)}
    if failures is not None:
        columns |= {"sum_failed_jobs": Sum("failed"), "sum_expired": Sum("expired")}
    since = first if failures is None else min(first, now - DAY)
    for row in _rows().since(since).order_by().values("moment", "queue_name").annotate(**columns):
        series.add(row)
        if failures is not None:
            failures.add(row)
    steps, is_long = series.steps(), length > timedelta(days=1)
    chart = stacked(steps, [_title(each, is_long) for each in steps], is_long)
    if failures is None:
        return Span(chart, series.queues())
    return Span(chart, series.queues(), failures.failed_jobs, failures.recent())


def _title(step: Step, is_long: bool) -> str:
    time = date_format(local(step.start), "DATETIME_FORMAT" if is_long else "H:i")
    return _("%(time)s: %(good)d succeeded, %(bad)d failed") % {
        "time": time,
        "good": step.good,
        "bad": step.bad,
    }


def _rounded_down(time: datetime, step: timedelta) -> datetime:
    midnight = time.replace(hour=0, minute=0, second=0, microsecond=0)
    return time - (time - midnight) % step


class TaskRow(NamedTuple):
    """A row of a table of tasks."""

    name: str
    runs: int
    failures: int
    percent: float
    p50: str
    p95: str
    seconds: float
    waited: str


def tasks_of(name: str) -> list[TaskRow]:
    """Return the statistics of each task in a span, the busiest first. It takes one query."""
    since = timezone.now() - SPANS[name][1]
    return [_task(row) for row in _rows().by_task(since)]


def _task(row: dict[str, Any]) -> TaskRow:
    bad = sum(row[column] for column in BAD)
    runs = bad + sum(row[column] for column in GOOD)
    half, most = percentiles(row).values()
    waited = row["seconds_waited"] / row["started"] if row["started"] else None
    return TaskRow(
        name=row["task_name"],
        runs=runs,
        failures=bad,
        percent=100 * bad / runs if runs else 0.0,
        p50="" if half is None else f"≤ {formatting.duration(half)}",
        p95="" if most is None else f"≤ {formatting.duration(most)}",
        seconds=row["seconds_run"],
        waited="" if waited is None else formatting.duration(waited),
    )


def worst(rows: Iterable[TaskRow], count: int = 5) -> list[TaskRow]:
    """Return the tasks with the most failures."""
    failing = [row for row in rows if row.failures]
    return sorted(failing, key=lambda row: (-row.failures, row.name))[:count]
