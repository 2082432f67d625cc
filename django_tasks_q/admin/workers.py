"""The list of workers, the page of one, and the request to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from .. import actions
from ..access import database
from ..lifecycle.states import JobStatus
from ..models import Worker
from . import audit, formatting, worker_display
from .base import Screens, jobs_of, may, redirect_with_message, require, url
from .confirmation import summary
from .pagination import rows_of, searched

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Worker]
else:
    ModelAdmin = admin.ModelAdmin

MAX_JOBS = 50


class WorkerScreens(Screens):
    """Mixin: all screens about workers."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.stop_view)
        return [path("<str:id>/stop/", view, name="django_tasks_q_worker_stop"), *super().get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        try:
            id = UUID(object_id)
        except ValueError:
            return None
        return worker_display.with_liveness(Worker._default_manager.using(database())).filter(pk=id).first()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the workers. The page takes one query."""
        require(request, "view_worker")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        search, found = (
            searched(request),
            worker_display.with_liveness(Worker._default_manager.using(database())),
        )
        if search:
            found = found.filter(Q(name__icontains=search) | Q(hostname__icontains=search))
        page = rows_of(request, worker_display.with_stopped(found), ("has_stopped", "-started_at", "-id"))
        context = {
            "rows": [worker_display.table_row(worker) for worker in page.rows],
            "page": page,
            "warnings": worker_display.shared_names(page.rows),
            "search": search,
            "may_stop": may(request, "stop_worker"),
            "live": True,
            **(extra_context or {}),
        }
        return self.page(request, "workers", _("Workers"), context, fragment="workers_live")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a worker and its running jobs. The page takes two queries."""
        require(request, "view_worker")
        if request.method == "POST":
            return HttpResponseNotAllowed(["GET", "HEAD"])
        worker = self.get_object(request, object_id)
        if worker is None:
            return redirect_with_message(
                request, _("No worker has this id. It may have been deleted."), url("worker_changelist")
            )
        jobs: list[Any] = []
        if may(request, "view_job"):
            running = jobs_of(request).filter(worker_id=worker.pk, status=JobStatus.RUNNING)
            jobs = list(running.without_payload().select_related("progress").order_by("-id")[:MAX_JOBS])
        context = {
            "worker": worker_display.table_row(worker),
            "lease": formatting.since(worker.lease_expires_at),
            "jobs": [
                {
                    "row": job,
                    "badge": formatting.state(job),
                    "url": url("job_change", job.pk),
                    "since": formatting.since(job.last_attempted_at) if job.last_attempted_at else "",
                }
                for job in jobs
            ],
            "may_stop": may(request, "stop_worker"),
            "live": worker.stopped_at is None,
            **(extra_context or {}),
        }
        return self.page(request, "worker", worker.name, context, fragment="worker_live")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        require(request, "view_worker")
        worker = self.get_object(request, object_id)
        return HttpResponseRedirect(
            url("worker_changelist") if worker is None else url("worker_change", worker.pk)
        )

    def stop_view(self, request: HttpRequest, id: str) -> HttpResponse:
        """Show the confirmation, or request that the worker stops as on SIGTERM."""
        require(request, "stop_worker")
        worker = self.get_object(request, id)
        if worker is None:
            return redirect_with_message(
                request, _("No worker has this id. It may have been deleted."), url("worker_changelist")
            )
        if request.method != "POST":
            return redirect_with_message(
                request, _("Choose an action on this page."), url("worker_changelist")
            )
        if "confirmed" not in request.POST:
            return self.page(
                request, "worker_stop", _("Stop a worker"), {"worker": worker_display.table_row(worker)}
            )
        with transaction.atomic(using=database()):
            done = actions.stop_worker(worker.pk, user=request.user)
            if done.done:
                audit.record(request, Worker, [(worker.pk, worker.name)], str(_("Stop")))
        level = messages.SUCCESS if done.done else messages.WARNING
        messages.add_message(request, level, summary(_("Stop"), done))
        return HttpResponseRedirect(url("worker_changelist"))


@admin.register(Worker)
class WorkerAdmin(WorkerScreens, ModelAdmin):
    pass
