"""Fields that accept exactly what the schema says, without conversions from other types."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from rest_framework import ISO_8601, serializers

from ..definition.options import MAX_QUEUE_NAME
from ..storage import aware
from ..storage.timestamps import native
from .openapi import typed


class Text(serializers.CharField):
    """Text as it is given. Numbers are refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


@typed({"type": "string", "maxLength": 255, "pattern": "^[^\\x00]*$"})
class Line(Text):
    """One line of text. Characters that are not printable, such as line breaks, become spaces."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        return "".join(each if each.isprintable() else " " for each in text)


@typed({"type": "string", "minLength": 1, "maxLength": MAX_QUEUE_NAME, "format": "printable"})
class QueueName(Text):
    """The name of a queue, which need not exist yet."""

    default_error_messages = {"unprintable": _("Must be printable characters.")}

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if not name.isprintable():
            self.fail("unprintable")
        return name


class Moment(serializers.DateTimeField):
    """A time: written in UTC and read as ISO 8601, whatever ``REST_FRAMEWORK`` and ``TIME_ZONE`` say.

    A time without an offset is taken to be in the current time zone.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"format": ISO_8601, "input_formats": [ISO_8601], **options})

    def enforce_timezone(self, value: datetime) -> datetime:
        # The base class would take naive datetimes for UTC if USE_TZ is off.
        return super().enforce_timezone(value) if settings.USE_TZ else native(value)

    def to_representation(self, value: Any) -> Any:
        return written(value) if isinstance(value, datetime) else super().to_representation(value)


def written(moment: datetime) -> str:
    """Return a time as all responses have it: ISO 8601 in UTC."""
    try:
        moment = aware(moment).astimezone(UTC)
    except OverflowError:  # near the smallest and the largest datetime
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")


class Finite(serializers.FloatField):
    """A number. NaN and infinity, which other programs may have stored, become null."""

    def to_representation(self, value: Any) -> Any:
        number: Any = super().to_representation(value)
        return number if math.isfinite(number) else None


class Flag(serializers.BooleanField):
    """True or false. Words for them, such as "yes", are refused."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Whole(serializers.IntegerField):
    """A whole number. Text is refused."""

    def to_internal_value(self, data: Any) -> int:
        # In JSON Schema 5.0 is an integer.
        is_whole = isinstance(data, int) or (isinstance(data, float) and data.is_integer())
        if isinstance(data, bool) or not is_whole:
            self.fail("invalid")
        return super().to_internal_value(int(data))


#: The schema of the arguments of any task. ``tasks/{name}/`` returns that of one task.
ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {},
    "propertyNames": {"pattern": "^[a-zA-Z][a-zA-Z0-9_]*$", "not": {"const": "context"}},
}


@typed({"anyOf": [ARGUMENTS, {"type": "null"}]})
class Arguments(serializers.DictField):
    """The arguments of a task by name."""
