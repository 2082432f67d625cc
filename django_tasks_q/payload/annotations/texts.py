"""Single values that are stored as text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils.dateparse import parse_duration
from django.utils.duration import duration_iso_string

from ...exceptions import UnstorableValue
from .converters import Converter, Load


class Text(Converter):
    """Values that have a text of their own."""

    is_text = True

    def __init__(
        self,
        kind: type,
        to_text: Callable[[Any], str],
        from_text: Callable[[str], Any],
        *,
        but_not: type | tuple[type, ...] = (),
    ) -> None:
        super().__init__(kind.__name__)
        self.kind, self.to_text, self.from_text, self.but_not = kind, to_text, from_text, but_not

    def suits(self, value: Any) -> bool:
        return isinstance(value, self.kind) and not isinstance(value, self.but_not)

    def write(self, value: Any, path: str) -> Any:
        try:
            return self.to_text(value)
        except ValueError as error:
            raise UnstorableValue(f"{path} {error}.") from None

    def read(self, stored: Any, load: Load) -> Any:
        if not isinstance(stored, str):
            raise self.misread(stored)
        try:
            return self.from_text(stored)
        except (ValueError, ArithmeticError):
            raise self.misread(stored) from None


class DecimalText(Text):
    """Decimals, for which whole numbers do as well."""

    def read(self, stored: Any, load: Load) -> Any:
        if isinstance(stored, int) and not isinstance(stored, bool):
            return Decimal(stored)
        return super().read(stored, load)


class Base64(Text):
    """Bytes. Text is not taken for them, since much of it would pass as base64 by chance."""

    takes_stored = False


def _decimal_text(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"is {value}, which cannot be stored")
    return Decimal.__str__(value)


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    _decimal_text(value)
    return value


def _uuid(text: str) -> UUID:
    return UUID(text)


def _datetime_text(value: datetime) -> str:
    if value != value:
        raise ValueError(f"is {value}, which cannot be stored")
    # Subclasses may know of more digits than there are here.
    text = datetime.isoformat(value)
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _datetime(text: str) -> datetime:
    if len(text) <= len("2000-01-01"):
        raise ValueError("a date alone")
    return datetime.fromisoformat(text)


def _time_text(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("is a time in a zone whose offset depends on the day, and cannot be stored")
    return time.isoformat(value)


def _timedelta(text: str) -> timedelta:
    value = parse_duration(text) if text.lstrip("-").startswith("P") else None
    if value is None:
        raise ValueError("not an ISO duration")
    return value


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


TEXTS: dict[type, Converter] = {
    Decimal: DecimalText(Decimal, _decimal_text, _decimal),
    UUID: Text(UUID, str, _uuid),
    datetime: Text(datetime, _datetime_text, _datetime),
    date: Text(date, date.isoformat, date.fromisoformat, but_not=datetime),
    time: Text(time, _time_text, time.fromisoformat),
    timedelta: Text(timedelta, duration_iso_string, _timedelta),
    bytes: Base64(bytes, lambda value: base64.b64encode(value).decode(), _bytes),
}

#: Whole numbers as keys, which JSON has as text only.
WHOLE_KEY = Text(int, str, int, but_not=bool)
