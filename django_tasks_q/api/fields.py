"""Fields that take what the schema says, and nothing that could be taken for it."""

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
    """Text as it is given. Numbers are no text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


@typed({"type": "string", "maxLength": 255, "pattern": "^[^\\x00]*$"})
class Line(Text):
    """Text in one line: what would break it becomes a space."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        return "".join(each if each.isprintable() else " " for each in text)


@typed({"type": "string", "minLength": 1, "maxLength": MAX_QUEUE_NAME, "format": "printable"})
class QueueName(Text):
    """The name of a queue, which may be one that nothing is in yet."""

    default_error_messages = {"unprintable": _("Must be printable characters.")}

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if not name.isprintable():
            self.fail("unprintable")
        return name


class Moment(serializers.DateTimeField):
    """A time: written in UTC and read as ISO 8601, whatever ``REST_FRAMEWORK`` and ``TIME_ZONE`` say.

    One that is given without an offset is in the current time zone.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"format": ISO_8601, "input_formats": [ISO_8601], **options})

    def enforce_timezone(self, value: datetime) -> datetime:
        # The base class takes naive datetimes for UTC where USE_TZ is off.
        return super().enforce_timezone(value) if settings.USE_TZ else native(value)

    def to_representation(self, value: Any) -> Any:
        return written(value) if isinstance(value, datetime) else super().to_representation(value)


def written(moment: datetime) -> str:
    """Return a time as all answers have it."""
    try:
        moment = aware(moment).astimezone(UTC)
    except OverflowError:  # at either end of what there is of time, some zones are outside
        moment = moment.replace(tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")


class Finite(serializers.FloatField):
    """A number as it is shown. One that JSON does not have, which somebody else has stored, is null."""

    def to_representation(self, value: Any) -> Any:
        number: Any = super().to_representation(value)
        return number if math.isfinite(number) else None


class Flag(serializers.BooleanField):
    """True or false. Words for them are neither."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Whole(serializers.IntegerField):
    """A whole number. Its text is none."""

    def to_internal_value(self, data: Any) -> int:
        # JSON Schema has it that 5.0 is one.
        is_whole = isinstance(data, int) or (isinstance(data, float) and data.is_integer())
        if isinstance(data, bool) or not is_whole:
            self.fail("invalid")
        return super().to_internal_value(int(data))


#: Of every task; the arguments of one are told by ``tasks/{name}/``.
ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {},
    "propertyNames": {"pattern": "^[a-zA-Z][a-zA-Z0-9_]*$", "not": {"const": "context"}},
}


@typed({"anyOf": [ARGUMENTS, {"type": "null"}]})
class Arguments(serializers.DictField):
    """Arguments of a task by name."""
