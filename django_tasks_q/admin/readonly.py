"""What all our admin classes have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from ..scope import database

if TYPE_CHECKING:
    from django.contrib.admin.options import BaseModelAdmin

    Base = BaseModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    # No base class: the mixin goes before whichever ModelAdmin a project's admin is made of.
    Base = object
    AnyPaginator = Paginator


class ReadOnly(Base):
    """Mixin: shows the rows where the backend writes them, and changes none."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(database())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FixedOrder(ChangeList):
    """A list in its class's own order: Django sorts by any column that an address names, index or none."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return [*self.model_admin.get_ordering(request), "-pk"]


class CappedPaginator(AnyPaginator):
    """Counts and shows no more than the first ``maximum`` rows, however many there are."""

    maximum = 10_000

    @cached_property
    def _found(self) -> int:
        # Unordered, so that the database may stop at the first rows it meets, in whatever order.
        rows: Any = self.object_list
        found: int = rows.order_by()[: self.maximum + 1].count()
        return found

    @cached_property
    def count(self) -> int:
        return min(self._found, self.maximum)

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than were counted."""
        return self._found > self.maximum
