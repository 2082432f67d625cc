"""What every kind of value has in common: it is written, and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import connections
from django.db.models import Model

from ...exceptions import UnserializableValue

#: A model, and the primary key of one of its rows.
Row = tuple[type[Model], Any]
#: Returns the instance of a model by its primary key.
Load = Callable[[type[Model], Any], Any]


#: The most rows of models that the arguments of one call may name.
MAX_INSTANCES = 10_000
#: Rows that are read by one query, where the database does not allow fewer.
CHUNK = 1000


class Instances:
    """The rows of models that some stored values name: each of them is read once, by a few queries."""

    def __init__(self) -> None:
        self._wanted: dict[type[Model], dict[Any, None]] = {}
        self._found: dict[type[Model], dict[Any, Any]] = {}
        self._count = 0

    def want(self, converter: Converter | None, stored: Any) -> None:
        """Take note of what a value names. Raises ValueError when it is too much."""
        if converter is None or not converter.needs_database:
            return
        for model, pk in converter.references(stored):
            keys = self._wanted.setdefault(model, {})
            if pk not in keys:
                keys[pk] = None
                self._count += 1
                if self._count > MAX_INSTANCES:
                    raise ValueError(
                        f"the arguments name more than {MAX_INSTANCES:,} rows of models: pass what they "
                        "have in common, such as a range of keys, and query them in the task."
                    )

    def load(self, model: type[Model], pk: Any) -> Any:
        """See Load."""
        if model not in self._found:
            self._found[model] = _in_bulk(model, list(self._wanted.get(model, ())))
        found = self._found[model]
        if pk not in found:
            # There is none, or it is the only one, or the database spells its key in another way.
            found[pk] = fetched(model, pk)
        return found[pk]


def _in_bulk(model: type[Model], keys: list[Any]) -> dict[Any, Any]:
    if len(keys) < 2:
        return {}
    manager = model._base_manager
    features = connections[manager.db].features
    columns = len(getattr(model._meta, "pk_fields", ())) or 1
    size = max(1, min(CHUNK, (features.max_query_params or CHUNK) // columns))
    found: dict[Any, Any] = {}
    for start in range(0, len(keys), size):
        rows = manager.filter(pk__in=keys[start : start + size])
        found |= {row.pk: row for row in rows}
    return found


def fetched(model: type[Model], pk: Any) -> Any:
    """Return the instance, from the database. Raises ValueError where there is none."""
    try:
        return model._base_manager.get(pk=pk)
    except ObjectDoesNotExist:
        raise ValueError(f"There is no {model.__name__} with the primary key {pk!r:.100}.") from None


def unfetched(model: type[Model], pk: Any) -> Any:
    """Return an instance that knows its primary key only, to see whether a stored value can be read."""
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
        """Return whether it is such a value, its parts aside."""
        raise NotImplementedError

    def write(self, value: Any, path: str) -> Any:
        """Return what is stored of a value that suits."""
        raise NotImplementedError

    def read(self, stored: Any, load: Load) -> Any:
        """Return the value of which something is stored. Raises TypeError or ValueError."""
        raise NotImplementedError

    def parts(self) -> Iterable[Converter | None]:
        return ()

    def references(self, stored: Any) -> Iterator[Row]:
        """Yield the rows that ``read`` will query: model and primary key."""
        return iter(())

    def encode(self, value: Any, path: str) -> Any:
        """Return what is stored of a value, in JSON types.

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
        """Return the value of which something is stored. Raises TypeError or ValueError with one sentence."""
        if not self.needs_database:
            return self.read(stored, fetched)
        instances = Instances()
        instances.want(self, stored)
        return self.read(stored, instances.load)

    def refusal(self, value: Any, path: str) -> UnserializableValue:
        return UnserializableValue(f"{path} must be of type {self.name}, not {value!r:.100}.")

    def misread(self, stored: Any) -> ValueError:
        return ValueError(f"{stored!r:.100} cannot be read as {self.name}.")

    def reached(self) -> Iterator[Converter]:
        """Yield the converter and all its parts, each of them once."""
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


def references(converter: Converter | None, stored: Any) -> Iterator[Row]:
    """See Converter.references()."""
    return iter(()) if converter is None else converter.references(stored)


def read(converter: Converter | None, stored: Any, load: Load) -> Any:
    """See Converter.read()."""
    return stored if converter is None else converter.read(stored, load)
