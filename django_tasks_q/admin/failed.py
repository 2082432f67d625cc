"""Failures that were not dismissed, grouped by task and exception."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from ..actions.selection import NONE
from ..models import Attempt
from ..storage.orm.monitoring import with_exception
from . import formatting, payload
from .base import jobs_of, require, url
from .confirmation import COUNTED
from .job_list import Filters, enqueued_at_of
from .verbs import offered

#: The most failures that are grouped on a page, the newest first.
REACH = 5_000
#: The most groups that a page shows, the largest first.
SHOWN = 100


@dataclass
class Group:
    """Failures of one task with one exception."""

    task: str
    exception: str
    code: str
    latest: UUID
    count: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, time: datetime | None) -> None:
        self.count += 1
        if time is not None:
            self.first = min(time, self.first or time)
            self.last = max(time, self.last or time)

    @property
    def query(self) -> str:
        """Return the query string that matches all failures of the group, those of other pages included."""
        found = Filters(
            tab="failed", task=self.task, exception=self.exception or NONE, code=self.code or NONE
        )
        return found.query()


def groups(jobs: Any, reach: int) -> tuple[list[Group], UUID | None]:
    """Return the groups, the largest first, and the id of the oldest failure if there are older ones.

    It takes one query.
    """
    rows = list(
        with_exception(jobs.undismissed())
        .order_by("-id")
        .values_list("id", "task_name", "error_code", "exception", "finished_at")[: reach + 1]
    )
    found: dict[tuple[str, str, str], Group] = {}
    for id, task, code, exception, time in rows[:reach]:
        key = (task, exception or "", code)
        found.setdefault(key, Group(*key, latest=id)).add(time)
    end = rows[reach - 1][0] if len(rows) > reach else None
    return sorted(found.values(), key=lambda group: (-group.count, group.task)), end


def failed_view(admin: Any, request: HttpRequest) -> HttpResponse:
    """Show the groups of failures. The page takes three queries."""
    require(request, "view_job")
    jobs, before, problem = jobs_of(request), None, ""
    if given := request.GET.get("before", ""):
        try:
            before = UUID(given)
        except ValueError:
            problem = _("This page does not exist. The first page is shown.")
    found, end = groups(jobs if before is None else jobs.filter(id__lt=before), REACH)
    is_part = end is not None or before is not None
    total = jobs.undismissed()[: COUNTED + 1].count() if is_part else sum(each.count for each in found)
    messages = _messages(request, found) if payload.is_open(request) else {}
    context = {
        "problem": problem,
        "groups": [_row(group, messages.get(group.latest, "")) for group in found[:SHOWN]],
        "is_part": is_part,
        "grouped": f"{sum(each.count for each in found):,}",
        "from": formatting.timestamp(enqueued_at_of(before)) if before else "",
        "to": formatting.timestamp(enqueued_at_of(end)) if end else "",
        "unshown": max(0, len(found) - SHOWN),
        "total": total,
        "total_text": f"{min(total, COUNTED):,}",
        "is_capped": total > COUNTED,
        "first_url": url("failed") if before else "",
        "older_url": url("failed", before=end) if end else "",
        "verbs": offered(request, ("retry", "dismiss", "delete")),
        "live": True,
    }
    response: HttpResponse = admin.page(request, "failed", _("Failed"), context, fragment="failed_live")
    return response


def _row(group: Group, message: str) -> dict[str, Any]:
    return {
        "group": group,
        "count": group.count,
        "count_text": f"{group.count:,}",
        "first": formatting.since(group.first) if group.first else "",
        "last": formatting.since(group.last) if group.last else "",
        "message": message,
        "matching": group.query,
        "jobs_url": f"{url('job_changelist')}?{group.query}",
    }


def _messages(request: HttpRequest, found: list[Group]) -> dict[UUID, str]:
    """Return the message of the latest failure of each group."""
    ids = [group.latest for group in found[:SHOWN]]
    rows = (
        Attempt._default_manager.using(jobs_of(request).db)
        .filter(job_id__in=ids)
        .order_by("fence")
        .values_list("job_id", "message", "job__task_name", "job__arguments")
    )
    return {
        id: payload.Payload.of(task, arguments).without_secrets(message)[:300]
        for id, message, task, arguments in rows
    }
