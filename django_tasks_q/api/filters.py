"""The filters of the list of jobs. All are exact, and are backed by an index, alone or with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from ..actions.selection import Selection, first_id
from ..definition.options import MAX_NAME, MAX_QUEUE_NAME
from ..lifecycle.states import JobStatus
from ..models.job import JobQuerySet
from ..scheduling.declare import MAX_NAME as MAX_SCHEDULE_NAME
from .fields import Moment, Text
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
        """A filter by exact text."""

    @typed({"type": "string", "format": "uuid"})
    class IdFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
        """A filter by an id in the usual form of UUIDs."""

    class JobFilter(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
        """The filters of the list of jobs and of bulk actions."""

        status = django_filters.ChoiceFilter(choices=JobStatus.choices, help_text=_("The status."))
        queue = TextFilter(
            "queue_name",
            max_length=MAX_QUEUE_NAME,
            strip=False,
            help_text=_("The exact name of the queue."),
        )
        task = TextFilter(
            "task_name",
            max_length=MAX_NAME,
            strip=False,
            help_text=_("The exact name of the task."),
        )
        tag = TextFilter(
            method="tagged",
            max_length=64,
            strip=False,
            help_text=_("A tag of the job. Only together with enqueued_after."),
        )
        parent = IdFilter(
            "parent_id",
            validators=[RegexValidator(_UUID)],
            help_text=_("The id of the job whose attempt enqueued it."),
        )
        schedule = TextFilter(
            method="of_schedule",
            max_length=MAX_SCHEDULE_NAME,
            strip=False,
            help_text=_("The exact name of the schedule that has enqueued it."),
        )
        enqueued_after = django_filters.IsoDateTimeFilter(
            method="after", help_text=_("Jobs enqueued at this time or later.")
        )
        enqueued_before = django_filters.IsoDateTimeFilter(
            method="before", help_text=_("Jobs enqueued before this time.")
        )

        def tagged(self, jobs: JobQuerySet, name: str, value: str) -> JobQuerySet:
            # This filter has no index: it reads all jobs that the other filters leave.
            if not self.data.get("enqueued_after"):
                raise ValidationError({"tag": [_("Only together with enqueued_after.")]})
            return jobs.tagged(value)

        def of_schedule(self, jobs: JobQuerySet, name: str, value: str) -> JobQuerySet:
            return jobs.scheduled_by(value)

        def after(self, jobs: JobQuerySet, name: str, value: datetime) -> JobQuerySet:
            return jobs.filter(id__gte=first_id(value))

        def before(self, jobs: JobQuerySet, name: str, value: datetime) -> JobQuerySet:
            return jobs.filter(id__lt=first_id(value))

    class JobFilterBackend(django_filters.DjangoFilterBackend):  # type: ignore[misc]  # it has no types
        """Filter a list of jobs by the parameters of the request. Raise ValidationError naming wrong ones."""

        def filter_queryset(self, request: Any, queryset: JobQuerySet, view: Any) -> JobQuerySet:
            return filtered(queryset, request.query_params, request)

        def to_html(self, request: Any, queryset: Any, view: Any) -> str:
            # The template of the form belongs to the app, which the project need not have installed.
            if not apps.is_installed("django_filters"):
                return ""
            html: str = super().to_html(request, queryset, view)
            return html

    FILTERS: tuple[str, ...] = tuple(JobFilter.base_filters)
    filter_backends: tuple[Any, ...] = (JobFilterBackend,)
else:
    JobFilter: Any = None
    FILTERS, filter_backends = (), ()


#: The filters that use the index of ids.
TIMES = ("enqueued_after", "enqueued_before")


def filtered(jobs: JobQuerySet, given: Any, request: Any) -> JobQuerySet:
    """Return the jobs that the filters leave. Raise ValidationError for unknown filters and wrong values."""
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


def fields_of_body() -> dict[str, Any]:
    """Return fields for the same filters in a body."""
    return {name: _field_of(JobFilter.base_filters[name]) for name in FILTERS}


def _field_of(filter: Any) -> serializers.Field[Any, Any, Any, Any]:
    """Return the field for a filter. Raise TypeError for an unknown kind of filter."""
    match filter:
        case django_filters.ChoiceFilter():
            return serializers.ChoiceField(choices=filter.extra["choices"], required=False)
        case IdFilter():
            return serializers.UUIDField(required=False)
        case TextFilter():
            return Text(max_length=filter.extra["max_length"], required=False)
        case django_filters.IsoDateTimeFilter():
            return Moment(required=False)
    raise TypeError(f"No field takes the values of {filter!r}.")


def _first_id(text: str) -> UUID:
    return first_id(datetime.fromisoformat(text))


#: For each filter, the equivalent field of ``Selection`` and the function that converts text to its value.
SELECTED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "status": ("status", str),
    "queue": ("queue", str),
    "task": ("task", str),
    "tag": ("tag", str),
    "parent": ("parent", UUID),
    "schedule": ("schedule", str),
    "enqueued_after": ("first", _first_id),
    "enqueued_before": ("before", _first_id),
}


def selection_of(given: Mapping[str, str]) -> Selection:
    """Return the ``Selection`` for filters that ``filtered()`` has accepted.

    Raise KeyError for a filter that selections do not have.
    """
    fields = {name: SELECTED[name] for name in given}
    return Selection(**{field: value(given[name]) for name, (field, value) in fields.items()})
