"""The page of the registered tasks with their statistics."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from ..definition.registry import registry
from ..monitoring.descriptions import described
from . import formatting, statistics
from .base import require, sees_all_jobs, url
from .enqueue_form import can_enqueue
from .pagination import items_of, searched

#: Facts that the page shows outside of the list of options.
SHOWN = ("name", "description", "function", "signature", "source", "queue_name", "executor", "max_attempts")


def tasks_view(admin: Any, request: HttpRequest) -> HttpResponse:
    """Show the registered tasks. The page takes one query."""
    require(request, "view_job")
    statistics_by_name = {row.name: row for row in statistics.tasks_of("24h")} if sees_all_jobs() else {}
    rows = []
    search = searched(request)
    known = [task for task in registry.offered() if search.lower() in task.name.lower()]
    page = items_of(request, known)
    for task in page.rows:
        facts = described(task)
        rows.append(
            {
                "facts": facts,
                "options": [
                    (name, formatting.pretty(value) if not isinstance(value, str) else value)
                    for name, value in facts.items()
                    if name not in SHOWN and value not in (None, "", [], {}, False)
                ],
                "figures": statistics_by_name.get(task.name),
                "jobs_url": url("job_changelist", task=task.name),
                "enqueue_url": url("enqueue", task=task.name) if can_enqueue(request, task) else "",
            }
        )
    context = {"rows": rows, "list": page, "search": search, "total": len(known)}
    response: HttpResponse = admin.page(request, "tasks", _("Tasks"), context)
    return response
