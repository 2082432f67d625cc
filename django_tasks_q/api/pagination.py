"""Pages that cost the same wherever they are."""

from __future__ import annotations

from uuid import UUID

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request


class JobPagination(CursorPagination):
    """Newest first: ids grow with time, and the primary key is the one index over all jobs."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                UUID(str(cursor.position))
            except ValueError:
                # The base class takes any text, and the query would fail on it.
                raise NotFound(self.invalid_cursor_message) from None
        return cursor
