"""The attempts of a job, on the job's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import Attempt
from . import text
from .readonly import ReadOnly

if TYPE_CHECKING:
    StackedInline = admin.StackedInline[Any, Any]
    InlineFormSet = BaseInlineFormSet[Any, Any, Any]
else:
    StackedInline = admin.StackedInline
    InlineFormSet = BaseInlineFormSet


class LatestAttempts(InlineFormSet):
    """At most ``maximum`` of them: a job may have had thousands, each with a long traceback."""

    maximum = 100

    def get_queryset(self) -> QuerySet[Any]:
        if not hasattr(self, "_queryset"):
            self._queryset = super().get_queryset()[: self.maximum]
        return self._queryset


class AttemptInline(ReadOnly, StackedInline):
    model = Attempt
    formset = LatestAttempts
    ordering = ("-fence",)
    extra = 0
    can_delete = False
    fields = (
        ("outcome", "error_code", "exit_status"),
        ("started_at", "finished_at", "seconds"),
        "worker_id",
        "exception_class",
        "message_text",
        "traceback_text",
    )
    readonly_fields = ("seconds", "message_text", "traceback_text")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Part of the job: who may see that may see this.
        return request.user.has_perm("django_tasks_q.view_job")

    @admin.display(description=_("duration"))
    def seconds(self, attempt: Attempt) -> str:
        return self.get_empty_value_display() if attempt.duration is None else text.duration(attempt.duration)

    @admin.display(description=_("message"))
    def message_text(self, attempt: Attempt) -> str:
        return text.block(attempt.message) if attempt.message else self.get_empty_value_display()

    @admin.display(description=_("traceback"))
    def traceback_text(self, attempt: Attempt) -> str:
        if not attempt.traceback:
            return self.get_empty_value_display()
        return text.folded(gettext("Show"), attempt.traceback)
