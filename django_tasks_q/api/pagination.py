"""Pages that cost the same wherever they are."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request


class JobPagination(CursorPagination):
    """Newest first: ids grow with time, and the primary key is the one index over all jobs."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    #: The query parameters that it reads.
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
                self.check_position(str(cursor.position))
            except (ValueError, OverflowError):
                # The base class takes any text, and the query would fail on it.
                raise NotFound(self.invalid_cursor_message) from None
        return cursor

    def check_position(self, position: str) -> None:
        """Raises ValueError for what the column cannot be compared with."""
        UUID(position)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == "page_size":
                parameter["schema"] |= {"minimum": 1, "maximum": 999_999_999}
        return parameters


class NumberPagination(JobPagination):
    """Oldest first, for rows that are counted: log lines."""

    ordering = "id"

    def check_position(self, position: str) -> None:
        if not 0 <= int(position[:20]) < 2**63:
            raise ValueError
