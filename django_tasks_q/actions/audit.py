"""Entries in the log of Django's admin, where that is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model

#: The flags of ``django.contrib.admin.models``, which cannot be imported unless that app is installed.
ADDITION, CHANGE, DELETION = 1, 2, 3


def record(
    user: Any, model: type[Model], rows: Iterable[tuple[Any, str]], message: str, flag: int = CHANGE
) -> None:
    """Write an entry for each row, which is an id and a name.

    Nothing is written for users that are not stored in the database.
    """
    if not apps.is_installed("django.contrib.admin") or not isinstance(user, get_user_model()):
        return
    from django.contrib.admin.models import LogEntry
    from django.contrib.contenttypes.models import ContentType

    kind = ContentType.objects.get_for_model(model)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=user.pk,
            content_type_id=kind.pk,
            object_id=str(id),
            object_repr=name[:200],
            action_flag=flag,
            change_message=message,
        )
        for id, name in rows
    )


def change_message(label: Any, values: Mapping[str, Any]) -> str:
    """Return the text of an entry: the action, its values and its reason."""
    named = [f"{name} = {value}" for name, value in sorted(values.items()) if name != "reason"]
    return ". ".join([str(label), *named, *filter(None, [values.get("reason")])])
