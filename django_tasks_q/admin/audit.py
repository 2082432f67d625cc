"""Who did what, in the log that Django's admin keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest


def record(
    request: HttpRequest,
    model: type[Model],
    rows: Iterable[tuple[Any, str]],
    message: str,
    flag: int = CHANGE,
) -> None:
    """One entry for each id and what it is called."""
    kind = ContentType.objects.get_for_model(model)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=request.user.pk or 0,
            content_type_id=kind.pk,
            object_id=str(id),
            object_repr=name[:200],
            action_flag=flag,
            change_message=message,
        )
        for id, name in rows
    )
