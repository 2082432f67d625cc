"""The list of workers, and the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import BooleanField, Case, Q, QuerySet, Value, When
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import codec
from ..models import Worker
from ..storage.clock import DatabaseNow
from . import text
from .readonly import CappedPaginator, FixedOrder, ReadOnly

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Worker]
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(Worker)
class WorkerAdmin(ReadOnly, ModelAdmin):
    list_display = (
        "state",
        "name",
        "hostname",
        "pid",
        "backend",
        "queue_names",
        "processes",
        "version",
        "started_at",
        "heartbeat_at",
    )
    list_display_links = ("name",)
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None
    ordering = ("-started_at",)
    sortable_by = ()

    readonly_fields = ("state", "queue_names")
    fields = (
        "id",
        "state",
        "name",
        ("hostname", "pid"),
        ("backend", "queue_names"),
        ("processes", "threads", "async_concurrency"),
        "version",
        ("started_at", "stopped_at"),
        ("heartbeat_at", "lease_expires_at"),
    )

    class Media:
        css = {"all": ("django_tasks_q/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # The database decides whether a lease still holds; so it must here, whatever our clock says.
        holds = When(Q(lease_expires_at__gt=DatabaseNow()), then=Value(True))
        alive = Case(holds, default=Value(False), output_field=BooleanField())
        workers: QuerySet[Any] = super().get_queryset(request).annotate(is_alive=alive)
        return workers

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FixedOrder

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("status"))
    def state(self, worker: Any) -> SafeString:
        if worker.stopped_at is not None:
            return text.badge(gettext("Stopped"), "cancelled")
        return (
            text.badge(gettext("Alive"), "successful")
            if worker.is_alive
            else text.badge(gettext("Late"), "failed")
        )

    @admin.display(description=_("queues"))
    def queue_names(self, worker: Worker) -> str:
        try:
            return ", ".join(map(str, codec.loads(worker.queues))) or gettext("all")
        except (TypeError, ValueError):
            return worker.queues
