"""Lists, tuples, sets and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ...exceptions import UnstorableValue
from .converters import Converter, Load, Row, encoded, read, references


class Items(Converter):
    """Lists, tuples of any length, and sets, all stored as lists."""

    def __init__(
        self,
        name: str,
        make: Callable[[Iterable[Any]], Any],
        item: Converter | None,
        kinds: tuple[type, ...],
    ) -> None:
        super().__init__(name)
        self.make, self.item, self.kinds = make, item, kinds
        self.is_structure = make is list

    def suits(self, value: Any) -> bool:
        return isinstance(value, self.kinds)

    def parts(self) -> Iterable[Converter | None]:
        return (self.item,)

    def write(self, value: Any, path: str) -> Any:
        stored = [encoded(self.item, item, f"{path}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, set | frozenset):
            with suppress(TypeError):  # what cannot be compared
                stored.sort()
        return stored

    def read(self, stored: Any, load: Load) -> Any:
        if not isinstance(stored, list):
            raise self.misread(stored)
        return self.make(read(self.item, item, load) for item in stored)

    def references(self, stored: Any) -> Iterator[Row]:
        if isinstance(stored, list):
            for item in stored:
                yield from references(self.item, item)


class FixedTuple(Converter):
    """Tuples of one length, stored as lists. ``make`` takes the items, ``fewest`` is how many it needs."""

    def __init__(self, name: str, make: Callable[..., Any], kind: type = tuple) -> None:
        super().__init__(name)
        self.make, self.kind = make, kind
        self.items: Sequence[Converter | None] = ()
        self.fewest = 0

    def suits(self, value: Any) -> bool:
        return (isinstance(value, self.kind) or type(value) in (list, tuple)) and self._fits(value)

    def _fits(self, value: Any) -> bool:
        return self.fewest <= len(value) <= len(self.items)

    def parts(self) -> Iterable[Converter | None]:
        return self.items

    def write(self, value: Any, path: str) -> Any:
        return [
            encoded(converter, item, f"{path}[{index}]")
            for index, (converter, item) in enumerate(zip(self.items, value, strict=False))
        ]

    def read(self, stored: Any, load: Load) -> Any:
        if not isinstance(stored, list) or not self._fits(stored):
            raise self.misread(stored)
        return self.make(
            *(read(converter, item, load) for converter, item in zip(self.items, stored, strict=False))
        )

    def references(self, stored: Any) -> Iterator[Row]:
        if isinstance(stored, list):
            for converter, item in zip(self.items, stored, strict=False):
                yield from references(converter, item)


class Dict(Converter):
    """Dicts, with keys that have a text."""

    def __init__(self, name: str, key: Converter | None, item: Converter | None) -> None:
        super().__init__(name)
        self.key, self.item = key, item
        self.is_structure = key is None

    def suits(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def parts(self) -> Iterable[Converter | None]:
        return (self.key, self.item)

    def write(self, value: Any, path: str) -> Any:
        stored = {}
        for key, item in value.items():
            text = encoded(self.key, key, f"{path} key")
            if text in stored:
                raise UnstorableValue(f"{path} has two keys that are stored as {text!r:.100}.")
            stored[text] = encoded(self.item, item, f"{path}[{key!r:.50}]")
        return stored

    def read(self, stored: Any, load: Load) -> Any:
        if not isinstance(stored, dict):
            raise self.misread(stored)
        return {read(self.key, key, load): read(self.item, item, load) for key, item in stored.items()}

    def references(self, stored: Any) -> Iterator[Row]:
        if isinstance(stored, dict):
            for item in stored.values():
                yield from references(self.item, item)
