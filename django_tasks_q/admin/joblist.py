"""Which jobs a list shows: its filters, and pages that go on behind the last row instead of counting."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Case, F, OuterRef, Q, Subquery, TextField, Value, When
from django.db.models.functions import Left, Length
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..actions.selection import Selection
from ..actions.selection import first_id as id_of
from ..models import Attempt
from ..models.job import JobQuerySet
from ..moments import local, native
from ..scope import database
from ..states import JobStatus
from ..storage.looks import horizon

WINDOWS: dict[str, tuple[Any, timedelta | None]] = {
    "1h": (_("Last hour"), timedelta(hours=1)),
    "24h": (_("Last 24 hours"), timedelta(hours=24)),
    "7d": (_("Last 7 days"), timedelta(days=7)),
    "30d": (_("Last 30 days"), timedelta(days=30)),
    "all": (_("Any time"), None),
}
RETRYING = "retrying"
#: A tab's name, its label, and the states of its jobs.
TABS: dict[str, tuple[Any, JobStatus | None]] = {
    "all": (_("All"), None),
    "ready": (JobStatus.READY.label, JobStatus.READY),
    "scheduled": (JobStatus.SCHEDULED.label, JobStatus.SCHEDULED),
    RETRYING: (_("Retrying"), JobStatus.SCHEDULED),
    "waiting": (JobStatus.WAITING.label, JobStatus.WAITING),
    "running": (JobStatus.RUNNING.label, JobStatus.RUNNING),
    "failed": (JobStatus.FAILED.label, JobStatus.FAILED),
    "successful": (JobStatus.SUCCESSFUL.label, JobStatus.SUCCESSFUL),
    "cancelled": (JobStatus.CANCELLED.label, JobStatus.CANCELLED),
    "expired": (JobStatus.EXPIRED.label, JobStatus.EXPIRED),
}
#: Tabs whose jobs have an index of their own: they are looked for in all the table.
OPEN_TABS = ("ready", "scheduled", RETRYING, "running", "failed")
#: How many jobs are looked at, of those that no index tells apart.
REACH = 10_000
#: The same of failures, which lie far apart: each is read from a page of the table of its own.
REACH_OF_FAILED = 5_000
#: Longest argument text that is parsed to be shown in a list.
PREVIEWED = 2_000
NAMES = (
    "status",
    "task",
    "queue",
    "tag",
    "worker",
    "schedule",
    "window",
    "since",
    "until",
    "dismissed",
    "after",
)


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to. What cannot be understood is left out, and named in ``problems``."""

    tab: str = "all"
    task: str = ""
    queue: str = ""
    tag: str = ""
    worker: UUID | None = None
    schedule: str = ""
    window: str = ""
    since: datetime | None = None
    until: datetime | None = None
    dismissed: bool = False
    problems: tuple[Any, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, given: QueryDict | str) -> Filters:
        query = QueryDict(given) if isinstance(given, str) else given
        reader = _Reader(query)
        filters = cls(
            tab=reader.one_of("status", TABS) or "all",
            task=reader.line("task", 255),
            queue=reader.line("queue", 128),
            tag=reader.line("tag", 64),
            worker=reader.uuid("worker"),
            schedule=reader.line("schedule", 128),
            window=reader.one_of("window", WINDOWS),
            since=reader.moment("since"),
            until=reader.moment("until"),
            dismissed=reader.one_of("dismissed", ("1",)) == "1",
        )
        return replace(filters, problems=tuple(reader.problems))

    @property
    def shown_window(self) -> str:
        """The chosen time window, or the default of the tab: old ones among those that wait are the point."""
        return self.window or (
            "all" if self.tab in OPEN_TABS or self.since or self.worker or self.schedule else "7d"
        )

    def query(self, **changes: Any) -> str:
        """As the query of an address."""
        values = {
            "status": self.tab if self.tab != "all" else "",
            "task": self.task,
            "queue": self.queue,
            "tag": self.tag,
            "worker": self.worker or "",
            "schedule": self.schedule,
            "window": self.window,
            "since": _local(self.since),
            "until": _local(self.until),
            "dismissed": "1" if self.dismissed else "",
        } | changes
        return urlencode({name: value for name, value in values.items() if value})

    def of_tab(self, jobs: JobQuerySet) -> JobQuerySet:
        _label, status = TABS[self.tab]
        if status is not None:
            jobs = jobs.filter(status=status)
        if self.tab == RETRYING:
            jobs = jobs.filter(Q(attempts__gt=0) | Q(crashes__gt=0))
        if self.tab == "failed" and not self.dismissed:
            jobs = jobs.filter(dismissed_at__isnull=True)
        return jobs

    def in_time(self, jobs: JobQuerySet) -> JobQuerySet:
        length = WINDOWS[self.shown_window][1]
        if length is not None:
            jobs = jobs.filter(id__gte=id_of(timezone.now() - length))
        if self.since:
            jobs = jobs.filter(id__gte=id_of(self.since))
        if self.until:
            jobs = jobs.filter(id__lt=id_of(self.until))
        return jobs

    def narrow(self, jobs: JobQuerySet) -> JobQuerySet:
        """The jobs that the filters find. Looks no further back than the list does."""
        return self.selection(jobs).of(jobs)

    def selection(self, jobs: JobQuerySet) -> Selection:
        """The same as a value, whose times do not move on any more."""
        length = WINDOWS[self.shown_window][1]
        starts = (
            self.bounded(self.in_time(jobs))[1],
            id_of(timezone.now() - length) if length is not None else None,
            id_of(self.since) if self.since else None,
        )
        status = TABS[self.tab][1]
        return Selection(
            status="" if status is None else status.value,
            retrying=self.tab == RETRYING,
            undismissed=self.tab == "failed" and not self.dismissed,
            task=self.task,
            queue=self.queue,
            tag=self.tag,
            worker=self.worker,
            schedule=self.schedule,
            first=max(filter(None, starts), default=None),
            before=id_of(self.until) if self.until else None,
        )

    def bounded(self, jobs: JobQuerySet) -> tuple[JobQuerySet, UUID | None]:
        """What is left of jobs, and where a search stops that would go over the whole table to find few."""
        found, end = self.of_tab(jobs), None
        if self._is_searched:
            reach = REACH_OF_FAILED if self.tab == "failed" else REACH
            text = horizon(database(), found if self.tab in OPEN_TABS else jobs, reach)
            end = UUID(text) if text else None
        if end is not None:
            found = found.filter(id__gte=end)
        return self._picked(found), end

    @property
    def _is_searched(self) -> bool:
        if self.tab in ("ready", "scheduled", RETRYING, "running"):
            return False
        chosen = self.task or self.queue or self.tag or self.worker or self.schedule
        return bool(chosen or self.tab not in ("all", "failed"))

    def _picked(self, jobs: JobQuerySet) -> JobQuerySet:
        if self.task:
            jobs = jobs.filter(task_name=self.task)
        if self.queue:
            jobs = jobs.filter(queue_name=self.queue)
        if self.worker:
            jobs = jobs.filter(worker_id=self.worker)
        if self.schedule:
            jobs = jobs.scheduled_by(self.schedule)
        if self.tag:
            jobs = jobs.tagged(self.tag)
        return jobs


def moment_of(id: UUID) -> datetime:
    """When a job of that id was enqueued."""
    return native(datetime.fromtimestamp((id.int >> 80) / 1000, timezone.get_current_timezone()))


class _Reader:
    def __init__(self, query: QueryDict) -> None:
        self.query = query
        self.problems: list[Any] = []
        for name in query:
            if name not in (*NAMES, "next", "ids"):
                self._refuse(name)

    def _refuse(self, name: str) -> None:
        text = gettext("The filter “%(name)s” cannot be used as given, and was left out.")
        self.problems.append(text % {"name": f"{name:.40}".encode("ascii", "replace").decode()})

    def text(self, name: str) -> str:
        return str(self.query.get(name, "")).strip()

    def one_of(self, name: str, allowed: Iterable[str]) -> str:
        value = self.text(name)
        if value and value not in allowed:
            self._refuse(name)
            return ""
        return value

    def line(self, name: str, maximum: int) -> str:
        value = self.text(name)
        if len(value) > maximum or not value.isprintable():
            self._refuse(name)
            return ""
        return value

    def uuid(self, name: str) -> UUID | None:
        value = self.text(name)
        try:
            return UUID(value) if value else None
        except ValueError:
            self._refuse(name)
            return None

    def moment(self, name: str) -> datetime | None:
        value = self.text(name)
        if not value:
            return None
        try:
            return _read_moment(value)
        except (ValueError, OverflowError):
            self._refuse(name)
            return None


def _read_moment(value: str) -> datetime:
    """Raises ValueError or OverflowError, also for times that some database or zone has no room for."""
    found = parse_datetime(value)
    if found is None or not 1970 < found.year < 9000:
        raise ValueError
    return native(found)


def _local(moment: datetime | None) -> str:
    return local(moment).strftime("%Y-%m-%dT%H:%M") if moment else ""


class Page(NamedTuple):
    """Rows of a list, the token of what comes behind them, and how far back it was searched."""

    rows: list[Any]
    after: str
    searched_to: datetime | None
    problem: str


#: The columns that order a tab, and "-" where it falls: that of its index.
ORDERS = {
    "ready": ("backend", "-priority", "id"),
    "scheduled": ("run_after", "id"),
    RETRYING: ("run_after", "id"),
}
NEWEST = ("-id",)


def page_of(jobs: JobQuerySet, filters: Filters, token: str, size: int) -> Page:
    """One page, and what leads to the next."""
    order = ORDERS.get(filters.tab, NEWEST)
    rows, problem = filters.in_time(jobs), ""
    if token:
        try:
            start = _decoded(token, len(order))
            rows = rows.filter(_behind(order, start))
        except (ValueError, TypeError, OverflowError):
            problem = gettext("That page cannot be found: this is the first one.")
    rows, end = filters.bounded(rows)
    found = list(_with_columns(rows).order_by(*order)[: size + 1])
    after = ""
    if len(found) > size:
        after = _encoded([getattr(found[size - 1], column.lstrip("-")) for column in order])
    elif end is not None:
        after = _encoded([end])
    return Page(found[:size], after, moment_of(end) if end and len(found) <= size else None, problem)


def _with_columns(jobs: JobQuerySet) -> JobQuerySet:
    text = TextField()
    attempts = Attempt._default_manager.using(jobs.db).filter(job=OuterRef("pk")).order_by("-fence")
    short = Case(
        When(Q(args_length__lte=PREVIEWED), then=F("arguments")), default=Value(""), output_field=text
    )
    return (
        jobs.without_payload()
        .select_related("progress")
        .annotate(args_length=Length("arguments"))
        .annotate(
            preview=short,
            last_class=Subquery(attempts.values("exception_class")[:1]),
            last_message=Subquery(attempts.annotate(cut=Left("message", 300)).values("cut")[:1]),
        )
    )


def _behind(order: tuple[str, ...], start: list[Any]) -> Q:
    """Rows that come after one with these values."""
    found = Q()
    equal = Q()
    for column, value in zip(order, start, strict=True):
        name = column.lstrip("-")
        found |= equal & Q(**{f"{name}__{'lt' if column.startswith('-') else 'gt'}": value})
        equal &= Q(**{name: value})
    first, name = order[0], order[0].lstrip("-")
    # Said once more for the index's sake, which cannot use an OR.
    return Q(**{f"{name}__{'lte' if first.startswith('-') else 'gte'}": start[0]}) & found


def _encoded(values: list[Any]) -> str:
    texts = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    data = json.dumps([str(text) if isinstance(text, UUID) else text for text in texts])
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _decoded(token: str, count: int) -> list[Any]:
    """Raises ValueError or TypeError for what is no token of ours."""
    if len(token) > 1000:
        raise ValueError
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, UnicodeError, RecursionError) as error:
        raise ValueError from error
    if not isinstance(values, list) or len(values) != count:
        raise ValueError
    *others, id = values
    if not isinstance(id, str):
        raise TypeError
    found: list[Any] = []
    for value in others:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise TypeError
        if isinstance(value, int):
            if abs(value) > 32_767:
                raise ValueError
            found.append(value)
            continue
        if "\x00" in value:
            raise ValueError
        found.append(_read_moment(value) if count == 2 else value)
    if count == 3 and not (isinstance(found[0], str) and isinstance(found[1], int)):
        raise TypeError
    if count == 2 and not isinstance(found[0], datetime):
        raise TypeError
    return [*found, UUID(id)]
