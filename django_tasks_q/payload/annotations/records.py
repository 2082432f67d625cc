"""Values of classes that say what they hold: stored as dicts, and instances of models as their keys."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model

from ...exceptions import UnserializableValue
from .converters import Converter, Load, Row, encoded, read, references


class Record(Converter):
    """Dataclasses, stored as dicts of their fields."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind.__name__)
        self.kind = kind
        self.fields: dict[str, Converter | None] = {}

    def fill(self, converters: Mapping[str, Converter | None]) -> None:
        # Fields that are not given to the constructor follow from the others.
        names = (field.name for field in dataclasses.fields(self.kind) if field.init)
        self.fields = {name: converters.get(name) for name in names}

    def suits(self, value: Any) -> bool:
        return type(value) is self.kind  # what a subclass adds would be lost

    def parts(self) -> Iterable[Converter | None]:
        return self.fields.values()

    def write(self, value: Any, path: str) -> Any:
        return {
            name: encoded(converter, getattr(value, name), f"{path}.{name}")
            for name, converter in self.fields.items()
        }

    def read(self, stored: Any, load: Load) -> Any:
        if not isinstance(stored, dict) or not stored.keys() <= self.fields.keys():
            raise self.misread(stored)
        return self.kind(**{name: read(self.fields[name], item, load) for name, item in stored.items()})

    def references(self, stored: Any) -> Iterator[Row]:
        return _references_of_fields(self.fields, stored)


class TypedDictConverter(Converter):
    """Dicts of known keys. Other keys are left as they are."""

    is_structure = True

    def __init__(self, kind: Any) -> None:
        super().__init__(kind.__name__)
        self.fields: dict[str, Converter | None] = {}
        self.required: frozenset[str] = frozenset()

    def suits(self, value: Any) -> bool:
        return isinstance(value, dict) and self.required <= value.keys()

    def parts(self) -> Iterable[Converter | None]:
        return self.fields.values()

    def write(self, value: Any, path: str) -> Any:
        return {
            key: encoded(self.fields.get(key), item, f"{path}[{key!r:.50}]") for key, item in value.items()
        }

    def read(self, stored: Any, load: Load) -> Any:
        if not self.suits(stored):
            raise self.misread(stored)
        return {key: read(self.fields.get(key), item, load) for key, item in stored.items()}

    def references(self, stored: Any) -> Iterator[Row]:
        return _references_of_fields(self.fields, stored)


def _references_of_fields(fields: Mapping[str, Converter | None], stored: Any) -> Iterator[Row]:
    if isinstance(stored, dict):
        for name, item in stored.items():
            yield from references(fields.get(name), item)


class Pydantic(Converter):
    """Pydantic's models, stored as they write themselves."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind.__name__)
        self.kind = kind

    def suits(self, value: Any) -> bool:
        return type(value) is self.kind

    def write(self, value: Any, path: str) -> Any:
        try:
            return value.model_dump(mode="json", by_alias=True, round_trip=True)
        except (TypeError, ValueError) as error:
            raise UnserializableValue(f"{path} cannot be stored: {error}") from None

    def read(self, stored: Any, load: Load) -> Any:
        try:
            # From JSON strict models, too, read what they have written.
            return self.kind.model_validate_json(json.dumps(stored))
        except ValueError as error:
            problems: Any = getattr(error, "errors", lambda: [])()
            reasons = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
            raise ValueError(
                f"{stored!r:.100} cannot be read as {self.name}: {'; '.join(reasons) or error}."
            ) from None


class Struct(Converter):
    """Structs of msgspec, stored as they write themselves."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind.__name__)
        self.kind = kind
        self.msgspec: Any = sys.modules["msgspec"]

    def suits(self, value: Any) -> bool:
        return type(value) is self.kind

    def write(self, value: Any, path: str) -> Any:
        try:
            return self.msgspec.to_builtins(value, str_keys=True)
        except TypeError as error:
            raise UnserializableValue(f"{path} cannot be stored: {error}") from None

    def read(self, stored: Any, load: Load) -> Any:
        try:
            return self.msgspec.convert(stored, self.kind, str_keys=True)
        except self.msgspec.ValidationError as error:
            raise ValueError(f"{stored!r:.100} cannot be read as {self.name}: {error}.") from None


def is_text_of(text: str, pk: Any) -> bool:
    """Return whether a text is the usual form of a primary key, and not another one of it."""
    return text == str(pk) if isinstance(pk, int) else text == text.strip()


class ModelConverter(Converter):
    """Instances of a model, stored as their primary keys. ``stored`` returns what is stored of a key."""

    is_model = True

    def __init__(self, model: type[Model], stored: Callable[[Any], Any]) -> None:
        super().__init__(model.__name__)
        self.model, self.stored = model, stored

    def suits(self, value: Any) -> bool:
        return isinstance(value, self.model)

    def write(self, value: Any, path: str) -> Any:
        pk = value.pk
        if pk is None or (isinstance(pk, tuple) and None in pk):
            raise UnserializableValue(f"{path} is an unsaved {self.name}, which has no primary key.")
        try:
            return self.stored(pk)
        except TypeError:
            return value._meta.pk.value_to_string(value)

    def read(self, stored: Any, load: Load) -> Any:
        return load(self.model, self._key(stored))

    def references(self, stored: Any) -> Iterator[Row]:
        with suppress(ValueError):
            yield self.model, self._key(stored)

    def _key(self, stored: Any) -> Any:
        field: Any = self.model._meta.pk
        if stored is None or isinstance(stored, Model | bool | float):
            raise self.misread(stored)
        try:
            pk = field.to_python(stored)
        except (ValidationError, TypeError, ValueError):
            raise self.misread(stored) from None
        if pk != stored and not isinstance(stored, str | int):  # such as the text of any object
            raise self.misread(stored)
        if isinstance(stored, str) and not is_text_of(stored, pk):
            raise self.misread(stored)
        return tuple(pk) if isinstance(pk, list) else pk
