"""Entries in the log of Django's admin."""

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
    """Write one entry for each pair of an id and a text in ``rows``."""
    actions.record(request.user, model, rows, message, flag)
