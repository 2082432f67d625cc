"""The list of jobs, and the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Job
from ..states import JobStatus
from . import text
from .attempts import AttemptInline
from .filters import QueueFilter, known_queues
from .readonly import CappedPaginator, FixedOrder, ReadOnly

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Job]
else:
    ModelAdmin = admin.ModelAdmin


class JobList(FixedOrder):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        queryset: Any = super().get_queryset(request, exclude_parameters)
        return queryset.without_payload()


@admin.register(Job)
class JobAdmin(ReadOnly, ModelAdmin):
    list_display = (
        "state",
        "task_name",
        "queue_name",
        "priority",
        "runs_of",
        "enqueued_at",
        "seconds",
        "error_code",
    )
    list_display_links = ("task_name",)
    list_filter = ("status", QueueFilter)
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None
    # Newest first, by the primary key: no other order has an index.
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("id",)
    search_help_text = _("The id of a job.")

    inlines = (AttemptInline,)
    readonly_fields = ("state", "runs_of", "seconds", "args_text", "kwargs_text", "result_text")
    fieldsets = (
        (None, {"fields": ("id", "state", "task_name", ("queue_name", "priority", "backend"), "error_code")}),
        (
            _("Times"),
            {
                "fields": (
                    ("enqueued_at", "run_after", "expires_at"),
                    ("started_at", "last_attempted_at"),
                    ("finished_at", "seconds"),
                )
            },
        ),
        (_("Runs"), {"fields": (("runs_of", "crashes", "timeout"), "worker_id")}),
        (_("Cancellation"), {"fields": (("cancel_requested_at", "cancel_reason"),)}),
        (_("Data"), {"fields": ("args_text", "kwargs_text", "result_text")}),
    )

    class Media:
        css = {"all": ("django_tasks_q/admin.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Django allows every lookup on the model's own columns, a scan of all arguments among them.
        match lookup:
            case "status__exact":
                return value in JobStatus.values
            case QueueFilter.parameter_name:
                return value in known_queues()
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        if not search_term.strip():
            return queryset, False
        try:
            return queryset.filter(id=UUID(search_term.strip())), False
        except ValueError:
            return queryset.none(), False

    def get_inlines(self, request: HttpRequest, obj: Job | None) -> Any:
        # A first run has a record of its own only once it has ended badly.
        if obj is None or obj.fence == 0:
            return ()
        first_run = obj.fence == 1 and obj.status in {JobStatus.RUNNING, JobStatus.SUCCESSFUL}
        return () if first_run else self.inlines

    @admin.display(description=_("status"))
    def state(self, job: Job) -> SafeString:
        label = gettext("Retrying") if job.is_retrying else str(job.get_status_display())
        return text.badge(label, job.status.lower())

    @admin.display(description=_("attempts"))
    def runs_of(self, job: Job) -> str:
        return f"{job.attempts}/{job.max_attempts}"

    @admin.display(description=_("duration"))
    def seconds(self, job: Job) -> str:
        return self.get_empty_value_display() if job.duration is None else text.duration(job.duration)

    @admin.display(description=_("positional arguments"))
    def args_text(self, job: Job) -> SafeString:
        return text.json_block(job.arguments, 0)

    @admin.display(description=_("keyword arguments"))
    def kwargs_text(self, job: Job) -> SafeString:
        return text.json_block(job.arguments, 1)

    @admin.display(description=_("result"))
    def result_text(self, job: Job) -> str:
        return self.get_empty_value_display() if job.result is None else text.json_block(job.result)
