"""The list of jobs: its filters and its keyset pagination."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import (
    Case,
    DateTimeField,
    F,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Left, Length
from django.http import QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..actions.selection import Selection
from ..actions.selection import first_id as id_of
from ..lifecycle.states import JobStatus
from ..models import Attempt, Job
from ..models.job import JobQuerySet
from ..storage.orm.monitoring import INDEXED, behind, column_of, edge, up_to, with_exception
from ..storage.timestamps import local, native

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
#: Tabs whose state has an index: their jobs are searched for in the whole table.
OPEN_TABS = ("ready", "scheduled", RETRYING, "running", "failed")
#: The most jobs that one page reads where no index fits the filters.
REACH = 10_000
#: The same for failures. These are spread over the table, so that each costs a read of a different block.
REACH_OF_FAILED = 5_000
#: If a page finds too few jobs, the next page reads GROWTH times as many, up to MAX_FACTOR times.
GROWTH, MAX_FACTOR = 4, 64
#: The longest text of arguments, in characters, that is parsed for the list.
PREVIEWED = 2_000
#: Characters of an error message that the list reads.
MESSAGE = 300
FILTER_NAMES = (
    "status",
    "task",
    "queue",
    "tag",
    "worker",
    "schedule",
    "exception",
    "code",
    "window",
    "since",
    "until",
    "dismissed",
    "after",
)


@dataclass(frozen=True)
class Filters:
    """The filters of the list. Invalid filters are ignored, and named in ``problems``."""

    tab: str = "all"
    task: str = ""
    queue: str = ""
    tag: str = ""
    worker: UUID | None = None
    schedule: str = ""
    #: The dotted path of the exception class of the last attempt.
    exception: str = ""
    code: str = ""
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
            exception=reader.line("exception", 600),
            code=reader.line("code", 64),
            window=reader.one_of("window", WINDOWS),
            since=reader.time("since"),
            until=reader.time("until"),
            dismissed=reader.one_of("dismissed", ("1",)) == "1",
        )
        return replace(filters, problems=tuple(reader.problems))

    @property
    def shown_window(self) -> str:
        """Return the chosen time window, or the default of the tab.

        Open jobs are shown whatever their age: the old ones need attention most.
        """
        return self.window or (
            "all" if self.tab in OPEN_TABS or self.since or self.worker or self.schedule else "7d"
        )

    def query(self, **changes: Any) -> str:
        """Return the filters as a query string, with ``changes``."""
        values = {
            "status": self.tab if self.tab != "all" else "",
            "task": self.task,
            "queue": self.queue,
            "tag": self.tag,
            "worker": self.worker or "",
            "schedule": self.schedule,
            "exception": self.exception,
            "code": self.code,
            "window": self.window,
            "since": _local(self.since),
            "until": _local(self.until),
            "dismissed": "1" if self.dismissed else "",
        } | changes
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def status(self) -> JobStatus | None:
        return TABS[self.tab][1]

    def selection(self, states: Iterable[str] = ()) -> Selection:
        """Return the filters as a ``Selection`` with fixed times.

        ``states`` limits the states where the tab shows jobs in any state.
        """
        length = WINDOWS[self.shown_window][1]
        starts = (
            id_of(timezone.now() - length) if length is not None else None,
            id_of(self.since) if self.since else None,
        )
        return Selection(
            status="" if self.status is None else self.status.value,
            states=tuple(sorted(states)) if self.status is None else (),
            retrying=self.tab == RETRYING,
            undismissed=self.tab == "failed" and not self.dismissed,
            task=self.task,
            queue=self.queue,
            tag=self.tag,
            worker=self.worker,
            schedule=self.schedule,
            exception=self.exception,
            code=self.code,
            first=max(filter(None, starts), default=None),
            before=id_of(self.until) if self.until else None,
        )

    @property
    def is_searched(self) -> bool:
        """Return whether no index fits the filters, so that other jobs are read too."""
        if self.tab in OPEN_TABS and self.tab != "failed":
            return False
        chosen = (self.task, self.queue, self.tag, self.worker, self.exception, self.code)
        return not self.schedule and (any(chosen) or self.tab not in ("all", "failed"))

    def candidates(self, jobs: JobQuerySet) -> JobQuerySet:
        """Return the jobs that have to be read to find those that match the filters."""
        jobs = self.selection().in_time(jobs)
        return jobs.filter(status=self.status) if self.status in INDEXED else jobs


def enqueued_at_of(id: UUID) -> datetime:
    """Return the time at which the job with this id was enqueued."""
    return native(datetime.fromtimestamp((id.int >> 80) / 1000, timezone.get_current_timezone()))


class _Reader:
    def __init__(self, query: QueryDict) -> None:
        self.query = query
        self.problems: list[Any] = []
        for name in query:
            if name not in (*FILTER_NAMES, "next", "ids"):
                self._refuse(name)

    def _refuse(self, name: str) -> None:
        text = gettext("The filter “%(name)s” is invalid and was ignored.")
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

    def time(self, name: str) -> datetime | None:
        value = self.text(name)
        if not value:
            return None
        try:
            return _read_time(value)
        except (ValueError, OverflowError):
            self._refuse(name)
            return None


def _read_time(value: str) -> datetime:
    """Raise ValueError or OverflowError for text that is no time, or that a database cannot store."""
    found = parse_datetime(value)
    if found is None or not 1970 < found.year < 9000:
        raise ValueError
    return native(found)


def _local(time: datetime | None) -> str:
    return local(time).strftime("%Y-%m-%dT%H:%M") if time else ""


class Page(NamedTuple):
    """A page of the list: its rows, the token of the next page, and the time to which it was searched."""

    rows: list[Any]
    after: str
    searched_to: datetime | None
    problem: str


#: The order of a tab's rows, which is that of its index.
ORDER_BY = {
    "ready": INDEXED[JobStatus.READY],
    "scheduled": INDEXED[JobStatus.SCHEDULED],
    RETRYING: INDEXED[JobStatus.SCHEDULED],
}
NEWEST = ("-id",)


def page_of(jobs: JobQuerySet, filters: Filters, token: str, size: int) -> Page:
    """Return the page that follows ``token``, or the first page if it is empty."""
    order = ORDER_BY.get(filters.tab, NEWEST)
    rows, candidates, factor, problem = filters.selection().of(jobs), filters.candidates(jobs), 1, ""
    if token:
        try:
            start, factor = _decoded(token, order)
            rows, candidates = rows.filter(behind(order, start)), candidates.filter(behind(order, start))
        except (ValueError, TypeError, OverflowError, ValidationError):
            problem = gettext("This page does not exist. The first page is shown.")
    end = None
    if filters.is_searched:
        reach = REACH_OF_FAILED if filters.tab == "failed" else REACH
        end = edge(candidates, order, reach * factor)
        if end is not None:
            rows = rows.filter(up_to(order, end))
    found = list(_with_columns(rows).order_by(*order)[: size + 1])
    after, searched_to = "", None
    if len(found) > size:
        after = _encoded([getattr(found[size - 1], column_of(term)) for term in order])
    elif end is not None:
        after = _encoded([*end, min(factor * GROWTH, MAX_FACTOR)])
        searched_to = enqueued_at_of(end[-1])
    return Page(found[:size], after, searched_to, problem)


def _with_columns(jobs: JobQuerySet) -> JobQuerySet:
    text = TextField()
    attempts = Attempt._default_manager.using(jobs.db).filter(job=OuterRef("pk")).order_by("-fence")
    if "exception" not in jobs.query.annotations:
        jobs = with_exception(jobs)
    short = Case(
        When(Q(args_length__lte=PREVIEWED), then=F("arguments")), default=Value(""), output_field=text
    )
    return (
        jobs.without_payload()
        .select_related("progress")
        .annotate(args_length=Length("arguments"))
        .annotate(
            preview=short,
            last_message=Subquery(attempts.annotate(cut=Left("message", MESSAGE)).values("cut")[:1]),
        )
    )


def _encoded(values: list[Any]) -> str:
    texts = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    data = json.dumps([str(text) if isinstance(text, UUID) else text for text in texts])
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _decoded(token: str, order: Sequence[str]) -> tuple[list[Any], int]:
    """Return the row after which a page begins, and the factor of the number of jobs that it reads.

    Raise ValueError, TypeError or ValidationError for an invalid token.
    """
    if len(token) > 1000:
        raise ValueError
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, UnicodeError, RecursionError) as error:
        raise ValueError from error
    if not isinstance(values, list) or len(values) not in (len(order), len(order) + 1):
        raise ValueError
    factor = values.pop() if len(values) > len(order) else 1
    if isinstance(factor, bool) or not isinstance(factor, int) or not 1 <= factor <= MAX_FACTOR:
        raise ValueError
    return [_read(column_of(term), value) for term, value in zip(order, values, strict=True)], factor


def _read(column: str, value: Any) -> Any:
    """Return the value of a column of jobs. Raise ValueError, TypeError or ValidationError."""
    kind: Any = Job._meta.get_field(column)
    expected = int if isinstance(kind, IntegerField) else str
    if type(value) is not expected:
        raise TypeError
    if isinstance(value, int):
        if abs(value) > 32_767:
            raise ValueError
        return value
    if "\x00" in value:
        raise ValueError
    return _read_time(value) if isinstance(kind, DateTimeField) else kind.to_python(value)
