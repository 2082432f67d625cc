"""Pagination of lists: by keyset for queries, by number for sequences."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from ..storage.orm.monitoring import behind, column_of

#: The default number of rows of a page.
SIZE = 100
#: The longest text that is searched for, in characters.
MAX_SEARCH = 200


class Page(NamedTuple):
    """The rows of a page, and the addresses of other pages."""

    rows: list[Any]
    #: ``first_url`` is empty on the first page, ``next_url`` on the last.
    first_url: str
    next_url: str
    problem: str = ""


def searched(request: HttpRequest) -> str:
    """Return the text that a list is searched for."""
    return request.GET.get("q", "").strip().replace("\x00", "")[:MAX_SEARCH]


def rows_of(request: HttpRequest, rows: QuerySet[Any], order: Sequence[str], size: int = SIZE) -> Page:
    """Return a page of a query. ``order`` has to be unique. It takes one query."""
    token, problem, start = request.GET.get("after", ""), "", None
    if token:
        try:
            start = _decoded(rows.model, order, token)
        except (TypeError, ValueError, ValidationError):
            problem = _("This page does not exist. The first page is shown.")
    if start is not None:
        rows = rows.filter(behind(order, start))
    found = list(rows.order_by(*order)[: size + 1])
    after = ""
    if len(found) > size:
        after = _encoded([getattr(found[size - 1], column_of(term)) for term in order])
    return Page(
        found[:size], _url(request) if start else "", _url(request, after=after) if after else "", problem
    )


def items_of(request: HttpRequest, items: Sequence[Any], size: int = SIZE) -> Page:
    """Return a page of a sequence."""
    given, problem, number = request.GET.get("page", ""), "", 1
    if given:
        if given.isascii() and given.isdecimal() and len(given) < 8 and int(given) > 0:
            number = int(given)
        else:
            problem = _("This page does not exist. The first page is shown.")
    start = size * (number - 1)
    is_more = len(items) > start + size
    next_url = _url(request, page=number + 1) if is_more else ""
    return Page(list(items[start : start + size]), _url(request) if number > 1 else "", next_url, problem)


def _url(request: HttpRequest, **more: Any) -> str:
    search = searched(request)
    values = {**({"q": search} if search else {}), **more}
    return f"?{urlencode(values)}"


def _encoded(values: list[Any]) -> str:
    data = json.dumps([value if isinstance(value, int) else str(value) for value in values])
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _decoded(model: Any, order: Sequence[str], token: str) -> list[Any]:
    """Raise TypeError, ValueError or ValidationError for an invalid token."""
    if len(token) > 2000:
        raise ValueError
    try:
        values = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except RecursionError as error:
        raise ValueError from error
    if not isinstance(values, list) or len(values) != len(order):
        raise ValueError
    return [_read(model, column_of(term), value) for term, value in zip(order, values, strict=True)]


def _read(model: Any, column: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError
    if isinstance(value, str) and "\x00" in value:
        raise ValueError
    try:
        return model._meta.get_field(column).to_python(value)
    except FieldDoesNotExist:  # an annotation, which is a number
        return int(value)
