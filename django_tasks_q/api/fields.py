"""Fields that take what the schema says, and nothing that could be taken for it."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from ..task_options import MAX_QUEUE_NAME
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
