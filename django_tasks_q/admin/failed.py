"""Failures that nobody has dealt with, in groups of one cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from ..models import Attempt
from . import payload, text
from .base import jobs_of, require, url
from .performing import CAP
from .verbs import offered

#: How many of the newest failures are looked at.
REACH = 5_000


@dataclass
class Group:
    """Failures of one task with one exception."""

    task: str
    exception: str
    code: str
    ids: list[UUID] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, id: UUID, moment: datetime | None) -> None:
        self.ids.append(id)
        if moment is not None:
            self.first = min(moment, self.first or moment)
            self.last = max(moment, self.last or moment)


def groups(jobs: Any, reach: int = REACH) -> tuple[list[Group], bool]:
    """The largest first, and whether there are more failures than were looked at. One query."""
    attempts = Attempt._default_manager.using(jobs.db).filter(job=OuterRef("pk")).order_by("-fence")
    rows = list(
        jobs.undismissed()
        .order_by("-id")
        .annotate(exception=Subquery(attempts.values("exception_class")[:1]))
        .values_list("id", "task_name", "error_code", "exception", "finished_at")[: reach + 1]
    )
    found: dict[tuple[str, str, str], Group] = {}
    for id, task, code, exception, moment in rows[:reach]:
        key = (task, exception or "", code)
        found.setdefault(key, Group(*key)).add(id, moment)
    return sorted(found.values(), key=lambda group: (-len(group.ids), group.task)), len(rows) > reach


def failed(admin: Any, request: HttpRequest) -> HttpResponse:
    """Two queries of its own."""
    require(request, "view_job")
    found, more = groups(jobs_of(request))
    messages = _messages(request, found) if payload.is_open(request) else {}
    rows = [
        {
            "group": group,
            "count": len(group.ids),
            "first": text.since(group.first) if group.first else "",
            "last": text.since(group.last) if group.last else "",
            "message": messages.get(group.ids[0], ""),
            "ids": " ".join(map(str, group.ids[:CAP])),
            "latest": group.ids[0],
            "is_capped": len(group.ids) > CAP,
            "jobs_url": url("job_changelist", status="failed", task=group.task),
        }
        for group in found[:100]
    ]
    context = {
        "groups": rows,
        "more": more,
        "reach": REACH,
        "cap": CAP,
        "total": sum(len(group.ids) for group in found),
        "verbs": offered(request, ("retry", "dismiss", "delete")),
        "live": True,
    }
    response: HttpResponse = admin.page(request, "failed", _("Failed"), context, fragment="failed_live")
    return response


def _messages(request: HttpRequest, found: list[Group]) -> dict[UUID, str]:
    """What the latest of each group said."""
    ids = [group.ids[0] for group in found[:100]]
    rows = (
        Attempt._default_manager.using(jobs_of(request).db)
        .filter(job_id__in=ids)
        .order_by("fence")
        .values_list("job_id", "message", "job__task_name", "job__arguments")
    )
    return {
        id: payload.Payload.of(task, arguments).told(message)[:300] for id, message, task, arguments in rows
    }
