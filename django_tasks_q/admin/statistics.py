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
            return _("Nothing has ended in the last %(minutes)d minutes.") % values
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


def span_of(name: str, *, lately: bool = False) -> Span:
    """Return the statistics of a span. It takes one query.

    With ``lately`` at least one day is read, to count recent failures.
    """
    _label, length, step = SPANS[name]
    now = timezone.now()
    first = _floor(now - length + step, step)
    count = int((now - first) // step) + 1
    good, bad = [0] * count, [0] * count
    queues: dict[str, list[int]] = defaultdict(lambda: [0] * count)
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    columns = {f"sum_{column}": Sum(column) for column in ("started", *GOOD, *BAD)}
    start, failed_lately = now - DAY, 0
    wrong, ended = [0] * len(RECENT), [0] * len(RECENT)
    if lately:
        columns |= {"sum_lately": Sum("failed"), "sum_expired": Sum("expired")}
    since = min(first, start) if lately else first
    rows = _rows().since(since).order_by().values("moment", "queue_name").annotate(**columns)
    for row in rows:
        if lately and row["moment"] >= start:
            failed_lately += row["sum_lately"] or 0
            failed_count = sum(row[f"sum_{column}"] or 0 for column in (*BAD, "expired"))
            for number, minutes in enumerate(RECENT):
                if row["moment"] > now - timedelta(minutes=minutes):
                    wrong[number] += failed_count
                    ended[number] += failed_count + sum(row[f"sum_{column}"] or 0 for column in GOOD)
        index = int((row["moment"] - first) // step)
        if not 0 <= index < count:
            continue
        good_count = sum(row[f"sum_{column}"] or 0 for column in GOOD)
        failed_count = sum(row[f"sum_{column}"] or 0 for column in BAD)
        good[index] += good_count
        bad[index] += failed_count
        queues[row["queue_name"]][index] += good_count + failed_count
        sums[row["queue_name"]][0] += row["sum_started"] or 0
        sums[row["queue_name"]][1] += good_count + failed_count
    steps = [Step(first + step * number, good[number], bad[number]) for number in range(count)]
    is_long = length > timedelta(days=1)
    titles = [_title(each, is_long) for each in steps]
    text = {name: (sparkline(values), *sums[name]) for name, values in queues.items()}
    recent = Recent(list(map(Window, RECENT, wrong, ended))) if lately else None
    return Span(stacked(steps, titles, is_long), text, failed_lately, recent)  # type: ignore[arg-type]


def _title(step: Step, is_long: bool) -> str:
    time = date_format(local(step.start), "DATETIME_FORMAT" if is_long else "H:i")
    return _("%(time)s: %(good)d succeeded, %(bad)d failed") % {
        "time": time,
        "good": step.good,
        "bad": step.bad,
    }


def _floor(time: datetime, step: timedelta) -> datetime:
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
