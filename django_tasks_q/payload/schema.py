"""What a task takes as JSON: its arguments by name, their schema, and what is wrong with those given."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections import abc
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Literal, Protocol, get_args, get_origin
from uuid import UUID

from django.db.models import Model
from django.utils.translation import gettext as _

from ..exceptions import UnserializableValue, UnstorableValue
from . import codec
from .annotations import converter_for, hints_of_function, matches
from .annotations import hints as annotated
from .annotations.converters import unfetched
from .annotations.enums import EnumConverter
from .annotations.matching import UNIONS, required_keys, says_nothing
from .masking import is_secret
from .signature import Parameters

Schema = dict[str, Any]

#: Types that hold themselves are described so deep.
MAX_DEPTH = 8

_PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
    Decimal: {"type": ["string", "integer"], "format": "decimal"},
    UUID: {"type": "string", "format": "uuid"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    timedelta: {"type": "string", "format": "duration"},
    bytes: {"type": "string", "contentEncoding": "base64"},
}
_ARRAYS = (list, tuple, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_OBJECTS = (dict, abc.Mapping, abc.MutableMapping)

_Kind = inspect.Parameter
_POSITIONAL = (_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD)


class Described(Protocol):
    """What the schema of a call depends on: a task has it."""

    @property
    def name(self) -> str: ...
    @property
    def func(self) -> abc.Callable[..., Any]: ...
    @property
    def takes_context(self) -> bool: ...
    @property
    def sensitive(self) -> tuple[str, ...]: ...
    def encoded(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]: ...


class ArgumentErrors(ValueError):
    """Arguments that a task does not take, with one list of sentences for each parameter."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__(str(errors))
        self.errors = errors


def arguments_schema(task: Described) -> Schema:
    """Return the JSON Schema of an object that holds a task's arguments by name."""
    properties: dict[str, Schema] = {}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    for parameter in _parameters(task):
        described = schema_of(_hints(task).get(parameter.name, Any))
        if parameter.kind == _Kind.VAR_KEYWORD:
            schema["additionalProperties"] = described or True
            continue
        if parameter.kind == _Kind.VAR_POSITIONAL:
            described = {"type": "array", "items": described}
        elif parameter.default is parameter.empty:
            schema.setdefault("required", []).append(parameter.name)
        elif is_secret(parameter.name, task.sensitive):
            pass  # its default is one as well
        elif isinstance(parameter.default, str | int | float | bool | None):
            if parameter.default is None and described and not matches(_hint(task, parameter.name), None):
                described = {"anyOf": [described, {"type": "null"}]}
            described = {**described, "default": parameter.default}
        properties[parameter.name] = described
    return schema


def bound(task: Described, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments given by name in JSON types, as ``enqueue()`` takes them. Raises ArgumentErrors."""
    errors: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    rest: list[Any] = []
    others = ""
    for parameter in _parameters(task):
        name = parameter.name
        if parameter.kind == _Kind.VAR_KEYWORD:
            others = name
        elif name not in given:
            if parameter.default is parameter.empty and parameter.kind != _Kind.VAR_POSITIONAL:
                errors[name] = [_("This field is required.")]
        elif parameter.kind == _Kind.VAR_POSITIONAL:
            if isinstance(given[name], list):
                rest = [_value(task, name, item, errors) for item in given[name]]
            else:
                errors[name] = [_("Must be a list.")]
        elif given[name] is None and parameter.default is None:
            values[name] = None
        else:
            values[name] = _value(task, name, given[name], errors)
    known = {parameter.name for parameter in _parameters(task)} - {others}
    more = {name: value for name, value in given.items() if name not in known}
    for name, value in more.items():
        # Callers cannot give what the worker fills, even where a function takes all names.
        if not others or not name.isidentifier() or name == "context" or name.startswith("_"):
            errors[name] = [_("Unknown parameter.")]
        else:
            values[name] = _value(task, others, value, errors, name)
    if errors:
        raise ArgumentErrors(errors)
    return _call(task, values, rest)


def by_name(task: Described, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored arguments of a call that ``bound()`` has made, by the names of parameters."""
    parameters = Parameters.of(task.func, task.takes_context).signature
    encoded_args, encoded_kwargs = task.encoded(args, kwargs)
    found: dict[str, Any] = {}
    for name, value in parameters.bind_partial(*encoded_args, **encoded_kwargs).arguments.items():
        kind = parameters.parameters[name].kind
        if kind == _Kind.VAR_KEYWORD:
            found |= value
        else:
            found[name] = list(value) if kind == _Kind.VAR_POSITIONAL else value
    return found


def _call(task: Described, values: dict[str, Any], rest: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return a call that gives by position only what cannot be given by name."""
    parameters = _parameters(task)
    kinds = _POSITIONAL if rest else (_Kind.POSITIONAL_ONLY,)
    first = [parameter for parameter in parameters if parameter.kind in kinds]
    while first and not rest and first[-1].name not in values:
        first.pop()
    args = [values.pop(parameter.name, parameter.default) for parameter in first]
    return args + rest, values


def _value(task: Described, name: str, value: Any, errors: dict[str, list[str]], place: str = "") -> Any:
    """Return one argument as its annotation says; what is wrong with it goes to ``errors``."""
    place = place or name
    annotation = _hint(task, name)
    try:
        codec.dumps(value, what=place)
        converter = Parameters.of(task.func, task.takes_context).typed.get(name)
        if converter is not None:
            value = converter.read(value, unfetched)
            codec.dumps(converter.encode(value, place), what=place)
        if not matches(annotation, value):
            raise TypeError
    except (UnserializableValue, UnstorableValue) as error:
        errors.setdefault(place, []).append(str(error))
    except RecursionError:
        errors.setdefault(place, []).append(_("Nested too deep."))
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
        wanted = annotated.described(annotation)
        errors.setdefault(place, []).append(_("Must be of type %(type)s.") % {"type": wanted})
    return value


def _parameters(task: Described) -> list[inspect.Parameter]:
    return list(Parameters.of(task.func, task.takes_context).signature.parameters.values())


def _hints(task: Described) -> dict[str, Any]:
    return _hints_of(task.func, task.takes_context)


@cache
def _hints_of(func: Any, takes_context: bool) -> dict[str, Any]:
    return hints_of_function(func, Parameters.of(func, takes_context).signature)


def _hint(task: Described, name: str) -> Any:
    return _hints(task).get(name, Any)


def schema_of(annotation: Any, depth: int = 0) -> Schema:
    """Return the JSON Schema of an annotation's stored values; empty where all are allowed."""
    annotation = annotated.bare(annotation)
    if depth > MAX_DEPTH:
        return {}
    if annotated.is_alias(annotation):
        return schema_of(annotation.__value__, depth + 1)
    if says_nothing(annotation):
        return {}
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        return {"anyOf": [schema_of(arg, depth + 1) for arg in args]}
    if origin is Literal:
        return {"enum": [arg.value if isinstance(arg, Enum) else arg for arg in args]}
    kind = origin or annotation
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if kind in _OBJECTS:
        items = schema_of(args[1], depth + 1) if len(args) == 2 else {}
        return {"type": "object", "additionalProperties": items or True}
    if kind in _ARRAYS or kind in _SETS:
        return _array(kind, args, depth)
    return _of_class(kind, depth)


def _array(kind: Any, args: tuple[Any, ...], depth: int) -> Schema:
    schema: Schema = {"type": "array"}
    if kind is tuple and args and args[-1] is not ... and not any(map(annotated.is_unpacked, args)):
        items = [schema_of(arg, depth + 1) for arg in args]
        return {**schema, "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if args and not annotated.is_unpacked(args[0]):
        schema["items"] = schema_of(args[0], depth + 1)
    return schema


def _of_class(kind: type, depth: int) -> Schema:
    if issubclass(kind, Enum):
        converter = converter_for(kind)
        stored = converter._stored if isinstance(converter, EnumConverter) else {}
        return {"enum": list(stored.values())} if stored else {}
    if issubclass(kind, Model):
        return {"type": ["integer", "string"], "description": f"The primary key of a {kind._meta.label}."}
    hints = annotated.hints_of_class(kind)
    if typing.is_typeddict(kind):
        return _object(hints, sorted(required_keys(kind, hints)), depth)
    if callable(getattr(kind, "model_json_schema", None)):
        made: Schema = kind.model_json_schema()  # type: ignore[attr-defined]  # Pydantic's
        return made
    if dataclasses.is_dataclass(kind):
        fields = [field for field in dataclasses.fields(kind) if field.init]
        required = [
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        return _object({field.name: hints.get(field.name, Any) for field in fields}, required, depth)
    if issubclass(kind, tuple) and (names := getattr(kind, "_fields", ())):
        items = [schema_of(hints.get(name, Any), depth + 1) for name in names]
        return {"type": "array", "prefixItems": items, "maxItems": len(items)}
    return next((dict(schema) for plain, schema in _PLAIN.items() if issubclass(kind, plain)), {})


def _object(hints: Mapping[str, Any], required: list[str], depth: int) -> Schema:
    return {
        "type": "object",
        "properties": {name: schema_of(hint, depth + 1) for name, hint in hints.items()},
        **({"required": required} if required else {}),
    }
