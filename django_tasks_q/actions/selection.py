"""A filter of jobs that can be stored, as the admin and the REST API build it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from ..definition.options import MAX_NAME, MAX_QUEUE_NAME
from ..lifecycle.states import JobStatus
from ..models.job import JobQuerySet
from ..scheduling.declare import MAX_NAME as MAX_SCHEDULE_NAME
from ..storage.orm.monitoring import with_exception
from ..validation import flag

#: The value that selects jobs without an exception or without an error code.
NONE = "-"


def first_id(moment: datetime) -> UUID:
    """Return the smallest id of jobs enqueued at that time. Ids begin with their time in milliseconds."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A filter of jobs. An empty field filters nothing. Raise TypeError or ValueError for bad values."""

    status: str = ""
    #: Only jobs in one of these states.
    states: tuple[str, ...] = ()
    #: Only jobs that wait for another attempt.
    retrying: bool = False
    #: Without failures that are marked as dealt with.
    undismissed: bool = False
    task: str = ""
    queue: str = ""
    backend: str = ""
    #: The class of the exception of the last attempt, and the error code. NONE selects jobs without one.
    exception: str = ""
    code: str = ""
    tag: str = ""
    worker: UUID | None = None
    parent: UUID | None = None
    #: The name of the schedule that enqueued the jobs.
    schedule: str = ""
    #: Only ids from ``first`` on, and only ids below ``before``.
    first: UUID | None = None
    before: UUID | None = None
    #: Without jobs that ended after this time.
    ended_by: datetime | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                _CHECKS[field.name](value, field.name)

    def of(self, jobs: JobQuerySet) -> JobQuerySet:
        """Return the selected jobs of a query."""
        equal = {
            "status": self.status,
            "status__in": self.states,
            "task_name": self.task,
            "queue_name": self.queue,
            "backend": self.backend,
            "worker_id": self.worker,
            "parent_id": self.parent,
        }
        jobs = self.in_time(jobs).filter(**{name: value for name, value in equal.items() if value})
        if self.retrying:
            jobs = jobs.filter(Q(attempts__gt=0) | Q(crashes__gt=0))
        if self.undismissed:
            jobs = jobs.filter(dismissed_at__isnull=True)
        if self.ended_by is not None:
            jobs = jobs.filter(Q(finished_at__isnull=True) | Q(finished_at__lte=self.ended_by))
        if self.schedule:
            jobs = jobs.scheduled_by(self.schedule)
        if self.code:
            jobs = jobs.filter(error_code="" if self.code == NONE else self.code)
        if self.exception == NONE:
            jobs = with_exception(jobs).filter(Q(exception="") | Q(exception__isnull=True))
        elif self.exception:
            jobs = with_exception(jobs).filter(exception=self.exception)
        return jobs.tagged(self.tag) if self.tag else jobs

    def in_time(self, jobs: JobQuerySet) -> JobQuerySet:
        """Return the jobs of a query whose ids are selected. Other fields are not applied."""
        if self.first is not None:
            jobs = jobs.filter(id__gte=self.first)
        return jobs if self.before is None else jobs.filter(id__lt=self.before)

    @property
    def is_narrow(self) -> bool:
        """Whether the selection omits some jobs of the index of a state, or of the index of ids."""
        return any(getattr(self, name) for name in _NARROWING)

    @property
    def is_direct(self) -> bool:
        """Whether the selection has an index that contains no other jobs."""
        return bool(self.parent or self.schedule)

    def limited_to(self, states: Collection[str]) -> Self:
        """Return the same selection without jobs in other states, unless it names a state itself."""
        if self.status or set(states) >= set(JobStatus):
            return self
        return replace(self, states=tuple(sorted(states)))

    def until_now(self) -> Self:
        """Return the same selection without jobs that are enqueued or end from now on."""
        now = timezone.now()
        # Jobs may have been enqueued in this millisecond already.
        end = UUID(int=first_id(now).int + (1 << 80))
        return replace(self, before=end if self.before is None else min(self.before, end), ended_by=now)


_NARROWING = ("retrying", "undismissed", "task", "queue", "backend", "tag", "worker", "exception", "code")


def _instance(kind: type) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {value!r:.100}.")

    return check


def _status(value: Any, name: str) -> None:
    if value not in JobStatus.values:
        raise ValueError(f"{name} must be a state of jobs, not {value!r:.100}.")


def _statuses(value: Any, name: str) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a tuple of states of jobs, not {value!r:.100}.")
    for each in value:
        _status(each, name)


def _text(maximum: int) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, str) or len(value) > maximum or "\x00" in value:
            raise ValueError(f"{name} must be text of at most {maximum} characters, not {value!r:.100}.")

    return check


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "status": _status,
    "states": _statuses,
    "retrying": flag,
    "undismissed": flag,
    "task": _text(MAX_NAME),
    "queue": _text(MAX_QUEUE_NAME),
    "backend": _text(128),
    "exception": _text(600),
    "code": _text(64),
    "tag": _text(64),
    "worker": _instance(UUID),
    "parent": _instance(UUID),
    "schedule": _text(MAX_SCHEDULE_NAME),
    "first": _instance(UUID),
    "before": _instance(UUID),
    "ended_by": _instance(datetime),
}
