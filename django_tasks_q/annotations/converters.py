"""What every kind of value has in common: it is written, and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model

from ..exceptions import UnserializableValue

#: Answers the instance of a model by its primary key.
Load = Callable[[type[Model], Any], Any]


def fetched(model: type[Model], pk: Any) -> Any:
    """The instance, from the database. Raises ValueError where there is none."""
    try:
        return model._base_manager.get(pk=pk)
    except ObjectDoesNotExist:
        raise ValueError(f"There is no {model.__name__} with the primary key {pk!r:.100}.") from None


def unfetched(model: type[Model], pk: Any) -> Any:
    """An instance that knows its primary key only, to see whether a stored value can be read."""
    return model(pk=pk)


class Converter:
    """Between the values of an annotation and what is stored of them."""

    #: Whether what is stored may also be given in place of a value.
    takes_stored = True
    #: Whether what is stored is text, so that it can be a key.
    is_text = False
    #: Whether reading asks the database, its parts aside.
    is_model = False
    #: Whether it is only typed as far as its parts are.
    is_structure = False

    def __init__(self, name: str) -> None:
        #: What the values are called in errors.
        self.name = name

    def suits(self, value: Any) -> bool:
        """Whether it is such a value, its parts aside."""
        raise NotImplementedError

    def write(self, value: Any, path: str) -> Any:
        """What is stored of a value that suits."""
        raise NotImplementedError

    def read(self, stored: Any, load: Load) -> Any:
        """The value of which something is stored. Raises TypeError or ValueError."""
        raise NotImplementedError

    def parts(self) -> Iterable[Converter | None]:
        return ()

    def encode(self, value: Any, path: str) -> Any:
        """What is stored of a value, in JSON types.

        Raises UnserializableValue naming ``path`` for a value of another type, UnstorableValue for one
        that cannot be stored.
        """
        if not self.suits(value):
            if not self.takes_stored:
                raise self.refusal(value, path)
            try:
                value = self.read(value, unfetched)
            except (TypeError, ValueError):
                raise self.refusal(value, path) from None
        return self.write(value, path)

    def decode(self, stored: Any) -> Any:
        """The value of which something is stored. Raises TypeError or ValueError with one sentence."""
        return self.read(stored, fetched)

    def refusal(self, value: Any, path: str) -> UnserializableValue:
        return UnserializableValue(f"{path} must be of type {self.name}, not {value!r:.100}.")

    def misread(self, stored: Any) -> ValueError:
        return ValueError(f"{stored!r:.100} cannot be read as {self.name}.")

    def reached(self) -> Iterator[Converter]:
        """It and all its parts, each of them once."""
        seen: set[int] = set()
        waiting: list[Converter | None] = [self]
        while waiting:
            converter = waiting.pop()
            if converter is not None and id(converter) not in seen:
                seen.add(id(converter))
                waiting += converter.parts()
                yield converter

    @cached_property
    def needs_database(self) -> bool:
        """Whether a model is somewhere in it, so that reading asks the database."""
        return any(converter.is_model for converter in self.reached())


def encoded(converter: Converter | None, value: Any, path: str) -> Any:
    """See Converter.encode(). Without a converter the value is stored as it is."""
    return value if converter is None else converter.encode(value, path)


def read(converter: Converter | None, stored: Any, load: Load) -> Any:
    """See Converter.read()."""
    return stored if converter is None else converter.read(stored, load)
