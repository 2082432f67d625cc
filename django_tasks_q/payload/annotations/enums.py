"""Members of Enums."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, Flag
from typing import Any

from ...exceptions import UnserializableValue
from .converters import Converter, Load


class EnumConverter(Converter):
    """Members of an Enum, stored as their values. ``stored`` returns what is stored of a value."""

    def __init__(self, kind: type[Enum], stored: Callable[[Any], Any]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind
        self._stored: dict[str, Any] = {}
        #: By JSON text, in which 1 differs from 1.0 and True.
        self._members: dict[str, Enum] = {}
        for member in kind:
            with suppress(TypeError, ValueError):
                value = stored(member.value)
                self._members[json.dumps(value)] = member
                self._stored[member.name] = value

    def suits(self, value: Any) -> bool:
        return isinstance(value, self.kind)

    def write(self, value: Any, path: str) -> Any:
        if value.name in self._stored:
            return self._stored[value.name]
        if isinstance(value, Flag):  # several at once
            return value.value
        raise UnserializableValue(f"{path} is {value}, whose value {value.value!r:.100} JSON cannot hold.")

    def read(self, stored: Any, load: Load) -> Any:
        if not isinstance(stored, Enum):  # of another class
            with suppress(TypeError, ValueError):
                if (member := self._members.get(json.dumps(stored))) is not None:
                    return member
                if issubclass(self.kind, Flag) and type(stored) is int:
                    return self.kind(stored)
        raise self.misread(stored)


class EnumKey(Converter):
    """Members of an Enum as keys: values that are no text are written as JSON."""

    is_text = True

    def __init__(self, member: Converter) -> None:
        super().__init__(member.name)
        self.member = member

    def suits(self, value: Any) -> bool:
        return self.member.suits(value)

    def write(self, value: Any, path: str) -> Any:
        stored = self.member.write(value, path)
        return stored if isinstance(stored, str) else json.dumps(stored)

    def read(self, stored: Any, load: Load) -> Any:
        try:
            return self.member.read(stored, load)
        except ValueError:
            try:
                return self.member.read(json.loads(stored), load)
            except (TypeError, ValueError):
                raise self.misread(stored) from None
