"""Pagination by cursors: each page costs the same, wherever it is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from ..access import is_narrowed
from .sealed_ids import opened, sealed
from .search_limit import moment_of, searched


class IdPagination(CursorPagination):
    """The newest first: ids grow with time, and the primary key is an index of all rows."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    #: The query parameters of the pagination.
    parameters = ("cursor", "page_size")

    def get_page_size(self, request: Request) -> int | None:
        given = request.query_params.get("page_size")
        if given is not None and not (
            given.isascii() and given.isdecimal() and given.strip("0") and len(given) < 10
        ):
            raise ValidationError({"page_size": [_("Must be a whole number from 1.")]})
        return super().get_page_size(request)

    def decode_cursor(self, request: Request) -> Cursor | None:
        if "\x00" in request.query_params.get("cursor", ""):
            raise NotFound(self.invalid_cursor_message)
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                position: Any = opened(str(cursor.position))
                self.check_position(position)
                cursor = cursor._replace(position=position)
            except (ValueError, OverflowError):
                # The base class accepts any text, and the query would fail.
                raise NotFound(self.invalid_cursor_message) from None
        return cursor

    def check_position(self, position: str) -> None:
        """Raise ValueError for text that cannot be compared with the column."""
        UUID(position)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == "page_size":
                parameter["schema"] |= {"minimum": 1, "maximum": 999_999_999}
        return parameters


class JobPagination(IdPagination):
    """Pages of jobs. A page that is not full because its search was limited says where the search stopped."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        # The job where a search stops may be another tenant's.
        self.is_sealed = is_narrowed(request)
        cursor = self.decode_cursor(request)
        self.is_reversed = cursor is not None and cursor.reverse
        self.searched = searched(queryset, request, cursor)
        page = super().paginate_queryset(self.searched.jobs, request, view)
        self.display_page_controls = self.display_page_controls or self.end is not None
        return page

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        return (f"-{self.searched.order}",)

    @property
    def end(self) -> UUID | None:
        """The id at which the search stopped, unless the page is full or the search reached the end."""
        is_full = self.has_previous if self.is_reversed else self.has_next
        return None if is_full else self.searched.end

    def get_next_link(self) -> str | None:
        if self.end is not None and not self.is_reversed:
            return self._link(False, self.end)
        if not self.page and self.has_next and self.next_position is not None:
            # The base class knows no row of an empty page, and would skip the row that led to it.
            return self._link(False, _beside(self.next_position, 1))
        return super().get_next_link()

    def get_previous_link(self) -> str | None:
        if self.end is not None and self.is_reversed:
            return self._link(True, self.end)
        if not self.page and self.has_previous and self.previous_position is not None:
            return self._link(True, _beside(self.previous_position, -1))
        return super().get_previous_link()

    def _link(self, is_reversed: bool, position: UUID) -> str:
        # In the stubs a position is a number.
        return self.encode_cursor(Cursor(0, is_reversed, str(position)))  # type: ignore[arg-type]

    def encode_cursor(self, cursor: Cursor) -> str:
        if self.is_sealed and cursor.position is not None:
            position: Any = sealed(UUID(str(cursor.position)))
            cursor = cursor._replace(position=position)
        return super().encode_cursor(cursor)

    def get_paginated_response(self, data: Any) -> Response:
        end = self.end
        return Response(
            {
                "next": self.get_next_link(),
                "previous": self.get_previous_link(),
                "searched_to": None if end is None or self.is_sealed else moment_of(end),
                "results": data,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        page["required"] = ["next", "previous", "searched_to", "results"]
        page["properties"]["searched_to"] = {
            "type": "string",
            "format": "date-time",
            "nullable": True,
            "description": _(
                "When the job was enqueued at which the search stopped, or null if it did not stop early."
            ),
        }
        return page


def _beside(position: Any, step: int) -> UUID:
    return UUID(int=min(max(UUID(str(position)).int + step, 0), 2**128 - 1))


class NumberPagination(IdPagination):
    """The oldest first, for rows with numbers as ids: log lines."""

    ordering = "id"

    def check_position(self, position: str) -> None:
        if not 0 <= int(position[:20]) < 2**63:
            raise ValueError
