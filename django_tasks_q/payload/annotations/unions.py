"""Values of which an annotation says that they are of one type or another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ...exceptions import UnserializableValue
from .containers import FixedTuple, Items
from .converters import Converter, Load, Row, encoded, read, references, unfetched
from .enums import EnumConverter
from .texts import Base64


class Plain(Converter):
    """A member of a union that is stored as it is."""

    is_structure = True

    def __init__(self, name: str, suits: Callable[[Any], bool]) -> None:
        super().__init__(name)
        self._suits = suits

    def suits(self, value: Any) -> bool:
        return self._suits(value)

    def write(self, value: Any, path: str) -> Any:
        return value

    def read(self, stored: Any, load: Load) -> Any:
        if not self._suits(stored):
            raise self.misread(stored)
        return stored


class Union(Converter):
    """Values of several types.

    What is stored is read by the member that would have stored just that. Where several would, the
    order is the same however the union is written, since ``int | str`` equals ``str | int``.
    """

    is_structure = True

    def __init__(
        self, name: str, members: Iterable[tuple[Converter, Callable[[Any], bool]]], optional: bool
    ) -> None:
        """``members`` come with a test of their values, which includes their items."""
        super().__init__(name)
        self._members = sorted(members, key=lambda member: (_rank(member[0]), member[0].name))
        self.members = [member for member, _ in self._members]
        self.optional = optional

    def suits(self, value: Any) -> bool:
        return (self.optional and value is None) or any(member.suits(value) for member in self.members)

    def parts(self) -> Iterable[Converter | None]:
        return self.members

    def encode(self, value: Any, path: str) -> Any:
        if self.optional and value is None:
            return None
        if len(self.members) == 1:
            return self.members[0].encode(value, path)
        refusal = None
        ranked = sorted(self._members, key=lambda member: (not member[1](value), not member[0].suits(value)))
        for member, _ in ranked:
            try:
                stored = member.encode(value, path)
            except UnserializableValue as error:
                if refusal is None and member.suits(value):
                    refusal = error  # a part of it is wrong
                continue
            self._prove(member, stored, path)
            return stored
        raise refusal or self.refusal(value, path)

    write = encode

    def _prove(self, member: Converter, stored: Any, path: str) -> None:
        if isinstance(member, Plain):
            return
        reader = self._reader(stored)
        if reader is not member:
            raise UnserializableValue(
                f"{path} is of type {member.name}, which {self.name} would read back as {reader.name}: "
                "make two parameters of it."
            )

    def _reader(self, stored: Any) -> Converter:
        willing = []
        for member in self.members:
            try:
                again = member.encode(member.read(stored, unfetched), "")
            except (TypeError, ValueError):
                continue
            if _same(again, stored):
                return member
            willing.append(member)
        if not willing:
            raise self.misread(stored)
        return willing[0]

    def read(self, stored: Any, load: Load) -> Any:
        if self.optional and stored is None:
            return None
        member = self.members[0] if len(self.members) == 1 else self._reader(stored)
        return member.read(stored, load)

    def references(self, stored: Any) -> Iterator[Row]:
        if self.optional and stored is None:
            return
        with suppress(ValueError):
            member = self.members[0] if len(self.members) == 1 else self._reader(stored)
            yield from member.references(stored)


def _rank(member: Converter) -> int:
    """Return the place of a member in the order of reading: the strictest first, lists before sets."""
    if isinstance(member, EnumConverter):
        return 0
    if isinstance(member, Plain):
        return 3
    if isinstance(member, Items | FixedTuple) and not member.is_structure:
        return 4
    return 2 if isinstance(member, Base64) or member.is_structure else 1


def _same(one: Any, other: Any) -> bool:
    # As text, in which 1 is neither True nor 1.0.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


class Reference(Converter):
    """A type alias that names itself, until what it stands for is known."""

    is_structure = True
    target: Converter | None = None

    def parts(self) -> Iterable[Converter | None]:
        return (self.target,)

    def suits(self, value: Any) -> bool:
        return self.target is None or self.target.suits(value)

    def encode(self, value: Any, path: str) -> Any:
        return encoded(self.target, value, path)

    write = encode

    def read(self, stored: Any, load: Load) -> Any:
        return read(self.target, stored, load)

    def references(self, stored: Any) -> Iterator[Row]:
        return references(self.target, stored)
