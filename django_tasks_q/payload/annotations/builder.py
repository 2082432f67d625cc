"""From an annotation to its converter."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Collection
from enum import Enum
from functools import cache, partial
from threading import RLock
from typing import Any, Literal, get_args, get_origin

from django.db.models import Model

from . import hints
from .containers import Dict, FixedTuple, Items
from .converters import Converter
from .enums import EnumConverter, EnumKey
from .hints import bare, is_unpacked
from .matching import UNIONS, matches, required_keys, says_nothing
from .records import ModelConverter, Pydantic, Record, Struct, TypedDictConverter
from .texts import TEXTS, WHOLE_KEY
from .unions import Plain, Reference, Union

#: Reentered where a type holds itself.
_lock = RLock()
_unfinished: dict[Any, Converter] = {}

_SETS = (set, frozenset, list, tuple)
#: What a container's values are read back as, and what is taken for them.
_ITEMS: dict[Any, tuple[type, tuple[type, ...]]] = {
    list: (list, (list, tuple)),
    abc.Sequence: (list, (list, tuple)),
    abc.MutableSequence: (list, (list, tuple)),
    abc.Collection: (list, _SETS),
    abc.Iterable: (list, _SETS),
    tuple: (tuple, (list, tuple)),
    set: (set, _SETS),
    abc.Set: (set, _SETS),
    abc.MutableSet: (set, _SETS),
    frozenset: (frozenset, _SETS),
}
_DICTS = (dict, abc.Mapping, abc.MutableMapping)


def converter_for(annotation: Any) -> Converter | None:
    """Return the converter of an annotation, or None where its values are stored as they are."""
    try:
        return _found(annotation)
    except TypeError:  # metadata that cannot be hashed
        return _build(annotation)


@cache
def _found(annotation: Any) -> Converter | None:
    with _lock:
        return _build(annotation)


def _build(annotation: Any) -> Converter | None:
    annotation = bare(annotation)
    if hints.is_alias(annotation):
        return _of_alias(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        return _of_union(annotation, args)
    if origin is Literal:
        return converter_for(typing.Union[tuple(type(arg) for arg in args)])  # noqa: UP007
    kind = origin or annotation
    if not isinstance(kind, type):
        return None
    if kind is tuple and args and args[-1] is not ... and not any(map(is_unpacked, args)):
        return _of_fixed_tuple(annotation, args)
    if kind in _ITEMS:
        item = converter_for(args[0]) if args and not is_unpacked(args[0]) else None
        make, kinds = _ITEMS[kind]
        return (
            None if make is list and item is None else Items(hints.described(annotation), make, item, kinds)
        )
    if kind in _DICTS and len(args) == 2:
        key, item = _key_converter(args[0]), converter_for(args[1])
        return None if key is None and item is None else Dict(hints.described(annotation), key, item)
    return _of_class(kind)


def _of_class(kind: type) -> Converter | None:
    if kind in TEXTS:
        return TEXTS[kind]
    if issubclass(kind, Enum):
        return EnumConverter(kind, _stored) if len(kind) else None
    if issubclass(kind, Model):
        return None if kind is Model or kind._meta.abstract else ModelConverter(kind, _stored_key)
    if typing.is_typeddict(kind):
        return _if_typed(_unless_unfinished(kind, _of_typed_dict))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _unless_unfinished(kind, _of_named_tuple)
    if callable(getattr(kind, "model_dump", None)) and callable(getattr(kind, "model_validate_json", None)):
        return Pydantic(kind)
    if (msgspec := sys.modules.get("msgspec")) is not None and issubclass(kind, msgspec.Struct):
        return Struct(kind)
    if dataclasses.is_dataclass(kind) and not _forgets(kind):
        return _unless_unfinished(kind, _of_dataclass)
    return None


def _forgets(kind: type) -> bool:
    """Return whether a dataclass is made from what its instances do not keep."""
    return any(isinstance(hint, dataclasses.InitVar) for hint in hints.hints_of_class(kind).values())


def _unless_unfinished(key: Any, build: Callable[[Any], Converter]) -> Converter:
    """Return what is being built of a type already, where the type holds itself."""
    with _lock:
        return _unfinished.get(key) or build(key)


def _filled(key: Any, converter: Converter, fill: Callable[[], None]) -> Converter:
    _unfinished[key] = converter
    try:
        fill()
    finally:
        del _unfinished[key]
    return converter


def _if_typed(converter: Converter) -> Converter | None:
    """Return None for a converter of a structure whose values are all stored as they are."""
    if any(converter is unfinished for unfinished in _unfinished.values()):
        return converter
    return converter if any(not part.is_structure for part in converter.reached()) else None


def _of_alias(alias: Any) -> Converter | None:
    def build(alias: Any) -> Converter:
        reference = Reference(str(alias))

        def fill() -> None:
            reference.target = converter_for(alias.__value__)

        return _filled(alias, reference, fill)

    return _if_typed(_unless_unfinished(alias, build))


def _of_dataclass(kind: Any) -> Converter:
    record = Record(kind)
    nullable = {field.name for field in dataclasses.fields(kind) if field.default is None}
    return _filled(kind, record, lambda: record.fill(_checked(hints.hints_of_class(kind), nullable)))


def _checked(annotations: dict[str, Any], nullable: Collection[str]) -> dict[str, Converter | None]:
    """Return the converters of fields, which also refuse what is stored as it is and is not of its type.

    None suits those that are None by default, whatever their annotation says.
    """
    return {
        name: converter_for(annotation) or _plain(annotation, name in nullable)
        for name, annotation in annotations.items()
    }


def _plain(annotation: Any, nullable: bool) -> Converter | None:
    if says_nothing(annotation):
        return None
    return Plain(
        hints.described(annotation),
        lambda value: (nullable and value is None) or _is_one(annotation, value),
    )


def _converters(annotations: dict[str, Any]) -> dict[str, Converter | None]:
    return {name: converter_for(annotation) for name, annotation in annotations.items()}


def _of_named_tuple(kind: Any) -> Converter:
    converter = FixedTuple(kind.__name__, kind, kind)
    converter.fewest = len(kind._fields) - len(kind._field_defaults)

    def fill() -> None:
        nullable = {name for name, default in kind._field_defaults.items() if default is None}
        known = _checked(hints.hints_of_class(kind), nullable)
        converter.items = [known.get(name) for name in kind._fields]

    return _filled(kind, converter, fill)


def _of_fixed_tuple(annotation: Any, args: tuple[Any, ...]) -> Converter:
    converter = FixedTuple(hints.described(annotation), lambda *items: items)
    converter.items = [converter_for(arg) for arg in args]
    converter.fewest = len(args)
    return converter


def _of_typed_dict(kind: Any) -> Converter:
    converter = TypedDictConverter(kind)

    def fill() -> None:
        known = hints.hints_of_class(kind)
        converter.required = required_keys(kind, known)
        converter.fields = _converters(known)

    return _filled(kind, converter, fill)


def _of_union(annotation: Any, args: tuple[Any, ...]) -> Converter | None:
    members: list[tuple[Converter, Callable[[Any], bool]]] = []
    is_typed = optional = False
    for arg in args:
        if says_nothing(arg):
            return None
        if bare(arg) is types.NoneType:
            optional = True
            continue
        converter = converter_for(arg)
        is_typed |= converter is not None
        tells = partial(_is_one, arg)
        members.append((converter or Plain(hints.described(arg), tells), tells))
    return Union(hints.described(annotation), members, optional) if is_typed else None


def _is_one(annotation: Any, value: Any) -> bool:
    # Tuples are stored as lists.
    return matches(annotation, value) or (type(value) is tuple and matches(annotation, list(value)))


def _key_converter(annotation: Any) -> Converter | None:
    annotation = bare(annotation)
    if annotation is int:
        return WHOLE_KEY
    converter = converter_for(annotation)
    if isinstance(converter, EnumConverter):
        return EnumKey(converter)
    return converter if converter is not None and converter.is_text else None


def _stored(value: Any) -> Any:
    converter = converter_for(type(value))
    return value if converter is None else converter.encode(value, "The value")


def _stored_key(pk: Any) -> Any:
    if isinstance(pk, str | int):
        return pk
    converter = converter_for(type(pk))
    if converter is None or not converter.is_text:
        raise TypeError("the field knows")
    return converter.encode(pk, "The primary key")
