"""The list of jobs, the page of one job, and the addresses of the screens about all jobs."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from ..models import Job
from . import action_locations, choices, formatting, job_page, payload
from .base import Screens, jobs_of, redirect_with_message, require, url
from .confirmation import action_view
from .counts import JobCounts
from .dashboard import dashboard_view
from .enqueue_form import enqueue_view
from .failed import failed_view
from .job_list import MESSAGE, TABS, WINDOWS, Filters, page_of
from .known_tasks import tasks_view
from .run_again import run_again
from .schedule_display import with_schedule
from .verbs import BULK, Verb, offered

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Job]
else:
    ModelAdmin = admin.ModelAdmin


#: With more tasks or queues than this a filter is a text field: a list would make the page too long.
MAX_CHOICES = 300


class JobScreens(Screens):
    """Mixin: all screens about jobs."""

    list_per_page = 50

    def get_urls(self) -> list[URLPattern]:
        def page(route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
            def called(request: HttpRequest, **more: Any) -> HttpResponse:
                return view(self, request, **more)

            wrapped = self.admin_site.admin_view(called)
            return path(route, wrapped, name=f"django_tasks_q_{name}")

        return [
            page("dashboard/", dashboard_view, "dashboard"),
            page("failed/", failed_view, "failed"),
            page("tasks/", tasks_view, "tasks"),
            page("enqueue/", enqueue_view, "enqueue"),
            page("actions/<slug:name>/", action_view, "job_action"),
            page("<str:id>/again/", run_again, "job_again"),
            *super().get_urls(),
        ]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the job, or None if the id is invalid or the user may not see the job."""
        try:
            id = UUID(object_id)
        except ValueError:
            return None
        return with_schedule(request, jobs_of(request)).select_related("progress").filter(pk=id).first()

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
        # Django passes the location since 6.1.
        located = {} if action_location is None else {"action_location": action_location}
        found = super().get_actions(request, **located)
        return {**found, **action_locations.actions_at(request, action_location)}

    def get_action_choices(
        self, request: HttpRequest, default_choices: Any = None, action_location: Any = None
    ) -> Any:
        if action_location is not None and action_location is action_locations.OBJECT_PAGE:
            return [*(default_choices or []), *action_locations.choices(self, request)]
        given = () if default_choices is None else (default_choices,)
        return super().get_action_choices(request, *given)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        require(request, "view_job")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if "id" in request.GET:
            return self._open_by_id(request, request.GET["id"])
        filters = Filters.parse(_filter_query(request))
        page = page_of(jobs_of(request), filters, request.GET.get("after", ""), self.list_per_page)
        is_open = payload.is_open(request)
        rows = [_list_row(job, is_open) for job in page.rows]
        if request.GET.get("export") == "csv":
            return _export(rows)
        counts = JobCounts.of(jobs_of(request))
        context = {
            "filters": filters,
            "problems": [*filters.problems, *filter(None, [page.problem])],
            "tabs": _tabs(filters, counts),
            "rows": rows,
            "tasks": _choices(choices.known_tasks(), filters.task),
            "queues": _choices(choices.known_queues(), filters.queue),
            "most_choices": MAX_CHOICES,
            "tags": choices.known_tags(),
            "windows": [
                (name, label, name == filters.shown_window) for name, (label, _length) in WINDOWS.items()
            ],
            "since": _query_value(filters, "since"),
            "until": _query_value(filters, "until"),
            "is_filtered": bool(filters.query(status="")),
            "is_first": "after" not in request.GET,
            "first_url": f"?{filters.query()}",
            "next_url": f"?{filters.query(after=page.after)}" if page.after else "",
            "export_url": f"?{filters.query(after=request.GET.get('after', ''), export='csv')}",
            "searched_to": formatting.timestamp(page.searched_to) if page.searched_to else "",
            "matching": filters.query(),
            "verbs": [verb for verb in offered(request, BULK) if _fits_tab(verb, filters)],
            "is_open": is_open,
            "live": True,
            **(extra_context or {}),
        }
        return self.page(request, "jobs", _("Jobs"), context, fragment="jobs_live")

    def _open_by_id(self, request: HttpRequest, given: str) -> HttpResponse:
        job = self.get_object(request, given.strip())
        if job is None:
            return redirect_with_message(request, _("No job has this id."), url("job_changelist"))
        return HttpResponseRedirect(url("job_change", job.pk))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        require(request, "view_job")
        job = self.get_object(request, object_id)
        if job is None:
            return redirect_with_message(
                request, _("No job has this id. It may have been deleted."), url("job_changelist")
            )
        if request.method == "POST":
            return action_locations.perform(self, request, job) or HttpResponseNotAllowed(["GET", "HEAD"])
        context = {
            **job_page.context(request, job),
            **action_locations.context(self, request, job),
            "live": not job.is_finished,
            "original": job,
            **(extra_context or {}),
        }
        return self.page(request, "job", job.task_name, context, fragment="job_live")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        require(request, "view_job")
        job = self.get_object(request, object_id)
        target = url("job_changelist") if job is None else f"{url('job_change', job.pk)}#history"
        return HttpResponseRedirect(target)


def _fits_tab(verb: Verb, filters: Filters) -> bool:
    """Return whether the verb can change the jobs of the chosen tab."""
    status = TABS[filters.tab][1]
    return status is None or status in verb.states


def _filter_query(request: HttpRequest) -> Any:
    """Return the query of the request without the parameters that are not filters."""
    query = request.GET.copy()
    for name in ("export", "after"):
        query.pop(name, None)
    return query


def _choices(known: list[str], chosen: str) -> list[str]:
    return known if not chosen or chosen in known else sorted([*known, chosen])


def _query_value(filters: Filters, name: str) -> str:
    return QueryDict(filters.query()).get(name, "")


def _tabs(filters: Filters, counts: JobCounts) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "label": label,
            "count": counts.shown(name) if name != "all" else "",
            "is_chosen": name == filters.tab,
            "url": f"?{filters.query(status='' if name == 'all' else name, window='')}",
        }
        for name, (label, _status) in TABS.items()
        if name != "waiting" or counts.total[name] or filters.tab == name
    ]


def _list_row(job: Any, is_open: bool) -> dict[str, Any]:
    """Return what the list shows of a job."""
    known = payload.Payload.of(job.task_name, job.preview) if job.preview else None
    data = known if is_open else None
    error = job.exception.rpartition(".")[2] if job.exception else job.error_code
    if job.status == "SUCCESSFUL":
        error = ""
    elif data is not None and job.last_message and job.exception:
        error = (
            f"{error}: {data.without_secrets(job.last_message, cut=MESSAGE).strip().partition(chr(10))[0]}"
        )
    found = getattr(job, "progress", None) if job.status == "RUNNING" else None
    took = ""
    if job.duration is not None and job.is_finished:
        took = formatting.duration(job.duration)
    elif job.status == "RUNNING" and job.last_attempted_at:
        took = formatting.since(job.last_attempted_at)
    elif job.status == "SCHEDULED" and job.run_after:
        took = formatting.since(job.run_after)
    return {
        "job": job,
        "url": url("job_change", job.pk),
        "badge": formatting.state(job),
        "args": formatting.preview(data.args, data.kwargs) if data else "",
        "too_long": is_open and not job.preview,
        "enqueued": formatting.since(job.enqueued_at),
        "took": took,
        "error": error[:200],
        "progress": job_page.progress_of(found, known) if found is not None else None,
    }


def _export(rows: list[dict[str, Any]]) -> HttpResponse:
    response = HttpResponse(
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="jobs.csv"', "Cache-Control": "no-store"},
    )
    writer = csv.writer(response)
    columns = ("id", "task_name", "queue_name", "priority", "status", "attempts", "max_attempts")
    writer.writerow([*columns, "enqueued_at", "finished_at", "duration", "arguments", "error"])
    for row in rows:
        job = row["job"]
        values = [getattr(job, column) for column in columns]
        times = [time.isoformat() if time else "" for time in (job.enqueued_at, job.finished_at)]
        writer.writerow(map(_csv_cell, [*values, *times, job.duration, row["args"], row["error"]]))
    return response


def _csv_cell(value: Any) -> Any:
    """Return a value that a spreadsheet does not evaluate as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value


@admin.register(Job)
class JobAdmin(JobScreens, ModelAdmin):
    pass
