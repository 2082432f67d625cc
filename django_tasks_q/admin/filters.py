"""Filters whose choices cost no query."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _


def known_queues() -> list[str]:
    """The queues that settings or registered tasks name."""
    from .. import _framework as framework
    from ..registry import registry

    queues = {task.queue_name for task in registry}
    for backend in framework.task_backends.all():
        queues.update(backend.queues)
    return sorted(queues)


class QueueFilter(SimpleListFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(queue, queue) for queue in known_queues()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(queue_name=value)
