"""Who did what, in the log that Django's admin keeps, where that is installed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Model

#: What was done, as ``django.contrib.admin.models`` says it, which only an installed app can be asked for.
ADDITION, CHANGE, DELETION = 1, 2, 3


def record(
    user: Any, model: type[Model], rows: Iterable[tuple[Any, str]], message: str, flag: int = CHANGE
) -> None:
    """One entry for each id and what it is called. None of users who are no rows themselves."""
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


def told(label: Any, values: Mapping[str, Any]) -> str:
    """What an entry says: what was done, with which values, and why."""
    named = [f"{name} = {value}" for name, value in sorted(values.items()) if name != "reason"]
    return ". ".join([str(label), *named, *filter(None, [values.get("reason")])])
