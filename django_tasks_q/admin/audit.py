"""Who did what, in the log that Django's admin keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE
from django.db.models import Model
from django.http import HttpRequest

from .. import actions


def record(
    request: HttpRequest,
    model: type[Model],
    rows: Iterable[tuple[Any, str]],
    message: str,
    flag: int = CHANGE,
) -> None:
    """One entry for each id and what it is called."""
    actions.record(request.user, model, rows, message, flag)
