"""Which jobs a list is of. Every filter is exact, and on a column that has an index or goes with one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import ValidationError

from ..models.job import JobQuerySet
from ..states import JobStatus
from ..task_options import MAX_NAME, MAX_QUEUE_NAME
from .openapi import typed

try:
    import django_filters.rest_framework as django_filters
except ImportError:
    HAS_FILTERS = False
else:
    HAS_FILTERS = True

_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z"

if TYPE_CHECKING or HAS_FILTERS:

    @typed({"type": "string", "minLength": 1, "pattern": "^[^\\x00]*$"})
    class TextFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
        """Text exactly as it is given."""

    @typed({"type": "string", "format": "uuid"})
    class IdFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
        """An id in its usual form."""

    class JobFilter(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
        """What the list of jobs, and verbs on many of them, choose by."""

        status = django_filters.ChoiceFilter(choices=JobStatus.choices, help_text=gettext_lazy("The status."))
        queue = TextFilter(
            "queue_name",
            max_length=MAX_QUEUE_NAME,
            strip=False,
            help_text=gettext_lazy("The exact name of the queue."),
        )
        task = TextFilter(
            "task_name",
            max_length=MAX_NAME,
            strip=False,
            help_text=gettext_lazy("The exact name of the task."),
        )
        tag = TextFilter(
            method="tagged",
            max_length=64,
            strip=False,
            help_text=gettext_lazy("A tag of the job. Only together with enqueued_after."),
        )
        parent = IdFilter(
            "parent_id",
            validators=[RegexValidator(_UUID)],
            help_text=gettext_lazy("The id of the job whose attempt enqueued it."),
        )
        enqueued_after = django_filters.IsoDateTimeFilter(
            method="after", help_text=gettext_lazy("Jobs enqueued at this time or later.")
        )
        enqueued_before = django_filters.IsoDateTimeFilter(
            method="before", help_text=gettext_lazy("Jobs enqueued before this time.")
        )

        def tagged(self, jobs: JobQuerySet, name: str, value: str) -> JobQuerySet:
            # The one filter without an index: it reads all that the others leave.
            if not self.data.get("enqueued_after"):
                raise ValidationError({"tag": [_("Only together with enqueued_after.")]})
            return jobs.tagged(value)

        def after(self, jobs: JobQuerySet, name: str, value: datetime) -> JobQuerySet:
            return jobs.filter(id__gte=first_id(value))

        def before(self, jobs: JobQuerySet, name: str, value: datetime) -> JobQuerySet:
            return jobs.filter(id__lt=first_id(value))

    class JobFilterBackend(django_filters.DjangoFilterBackend):  # type: ignore[misc]  # it has no types
        """Filters a list of jobs by the request's parameters. Raises ValidationError naming bad ones."""

        def filter_queryset(self, request: Any, queryset: JobQuerySet, view: Any) -> JobQuerySet:
            return filtered(queryset, request.query_params, request)

        def to_html(self, request: Any, queryset: Any, view: Any) -> str:
            # The form's template is the app's, which a project need not have installed.
            if not apps.is_installed("django_filters"):
                return ""
            html: str = super().to_html(request, queryset, view)
            return html

    FILTERS: tuple[str, ...] = tuple(JobFilter.base_filters)
    filter_backends: tuple[Any, ...] = (JobFilterBackend,)
else:
    JobFilter: Any = None
    FILTERS, filter_backends = (), ()


def filtered(jobs: JobQuerySet, given: Any, request: Any) -> JobQuerySet:
    """The jobs that filters given by name leave. Raises ValidationError for unknown and unusable ones."""
    errors = {name: [_("This may not be empty.")] for name in FILTERS if name in given and not given[name]}
    if errors:
        raise ValidationError(errors)
    if not HAS_FILTERS:
        return jobs
    chosen = JobFilter(given, queryset=jobs, request=request)
    if not chosen.is_valid():
        raise ValidationError({name: list(map(str, each)) for name, each in chosen.errors.items()})
    found: JobQuerySet = chosen.qs
    return found


def first_id(moment: datetime) -> UUID:
    """The least id that a job enqueued at that time has: ids begin with their time, in milliseconds."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)
