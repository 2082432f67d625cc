"""Notifications, where the database sends none: workers poll, and so does what watches jobs for callers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Max, OuterRef, Subquery

from ..lifecycle.states import FINAL
from ..models import Job, LogLine
from .session import Listener, Part

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: Given a queue and an executor, each of which may be empty for any, returns whether jobs there concern a
#: worker.
Concerns = Callable[[str, str], bool]


def always(queue: str, executor: str) -> bool:
    """Return True: jobs of all queues and executors concern a worker."""
    return True


#: Columns of a job that can be large. No other changes without one of the rest.
_PAYLOAD = {"arguments", "options", "result", "metadata"}
_PROGRESS = ("progress__fence", "progress__current", "progress__message", "progress__updated_at")


class EndListener:
    """Listens for the ends of jobs, for all callers of a process that wait for some.

    It uses the connection of the thread that has made it.
    """

    #: Whether a notification has arrived. Behind some poolers none ever does.
    is_proven = False

    @property
    def has_arrived(self) -> bool:
        """Whether there is something to drain, although no selector may find it."""
        raise NotImplementedError

    def fileno(self) -> int:
        raise NotImplementedError

    def ask(self, backend: str, ids: Collection[UUID]) -> None:
        """Notify workers of callers that wait. It must be repeated every ``REMEMBERED / 2`` seconds."""
        raise NotImplementedError

    def drain(self) -> set[UUID]:
        """Return the jobs that may have ended. Raise a database Error if no more can arrive."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop to listen. The connection stays."""
        raise NotImplementedError


class NoNotifications(Part):
    def notify_jobs(self, backend: str, queue: str = "", executor: str = "") -> None:
        pass

    def notify_cancel(self, backend: str) -> None:
        pass

    def notify_control(self, backend: str) -> None:
        pass

    def notify_ended(self, backend: str, ids: Collection[UUID]) -> None:
        pass

    def listen(self, backend: str, concerns: Concerns = always) -> Listener | None:
        return None

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        pass

    def end_listener(self) -> EndListener | None:
        return None

    def ended(self, ids: Collection[UUID]) -> set[UUID]:
        unfinished = Job.objects.using(self.alias).filter(id__in=ids).exclude(status__in=FINAL)
        return set(ids).difference(unfinished.values_list("id", flat=True))

    def versions(self, ids: Collection[UUID]) -> dict[UUID, tuple[Any, ...]]:
        columns = [field.attname for field in Job._meta.concrete_fields if field.attname not in _PAYLOAD]
        lines = LogLine.objects.filter(job_id=OuterRef("id")).order_by().values("job_id")
        last_line = Subquery(lines.annotate(last=Max("id")).values("last"))
        rows = Job.objects.using(self.alias).filter(id__in=ids).annotate(last_line=last_line)
        return {row[0]: row for row in rows.values_list(*columns, *_PROGRESS, "last_line")}
