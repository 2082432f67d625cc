"""Annotations made plain: names looked up, and what is wrapped around a type taken off."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import (
    Annotated,
    Any,
    ForwardRef,
    NewType,
    NotRequired,
    Required,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

_WRAPPERS = {Annotated, Required, NotRequired, "ReadOnly"}


def hints_of_function(func: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """Return the annotations of a signature by parameter, and ``return``, as far as there are any.

    One whose names cannot be looked up stays as it is written.
    """
    written = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.annotation is not parameter.empty
    }
    if signature.return_annotation is not signature.empty:
        written["return"] = signature.return_annotation
    return _looked_up(written, getattr(inspect.unwrap(func), "__globals__", {}), {})


def hints_of_class(kind: type) -> dict[str, Any]:
    """Return the annotations of a class and its bases. See hints_of_function()."""
    local = {kind.__name__: kind}  # a class that is not at module level may still name itself
    try:
        return get_type_hints(kind, localns=local, include_extras=True)
    except Exception:  # annotations may be any code
        hints: dict[str, Any] = {}
        for base in reversed(kind.__mro__):
            module = sys.modules.get(base.__module__)
            hints |= _looked_up(inspect.get_annotations(base), vars(module) if module else {}, local)
        return hints


def _looked_up(written: Mapping[str, Any], names: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    for name, annotation in written.items():
        holder: Any = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= get_type_hints(holder, names, local, include_extras=True)
        except Exception:  # annotations may be any code
            hints[name] = annotation
    return hints


def bare(annotation: Any) -> Any:
    """Return the type in an annotation, without metadata and new names for it. None becomes its type."""
    while True:
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif (origin := get_origin(annotation)) in _WRAPPERS or getattr(origin, "_name", "") in _WRAPPERS:
            annotation = get_args(annotation)[0]
        else:
            return types.NoneType if annotation is None else _original(annotation)


def _original(annotation: Any) -> Any:
    """Return the class that another one stands in for, as those do that tests stop the clock with."""
    if isinstance(annotation, type) and annotation.__module__ != "datetime":
        for kind, instance in _CLOCKS:
            if issubclass(annotation, kind) and isinstance(instance, annotation):
                return kind
    return annotation


# In a tuple, where what stops the clock does not look for names to replace.
_CLOCKS = ((datetime, datetime.min), (date, date.min))


def is_alias(annotation: Any) -> bool:
    """Return whether it was made by a ``type`` statement."""
    return type(annotation).__name__ == "TypeAliasType"


def is_unpacked(annotation: Any) -> bool:
    """Return whether it stands for any number of items, as in ``tuple[int, *tuple[str, ...]]``."""
    return get_origin(annotation) is Unpack or getattr(annotation, "__unpacked__", False) is True


def is_unresolved(annotation: Any) -> bool:
    return isinstance(annotation, str | ForwardRef)


def is_dependency(annotation: Any) -> bool:
    """Return whether the parameter is filled in by the worker, and not by a caller."""
    return any(
        getattr(item, "is_dependency", False) is True for item in getattr(annotation, "__metadata__", ())
    )


def described(annotation: Any) -> str:
    """Return an annotation as it would be written."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return "None" if annotation is types.NoneType else annotation.__qualname__.rpartition("<locals>.")[2]
    if args := get_args(annotation):
        origin = get_origin(annotation)
        if origin is types.UnionType or getattr(origin, "__name__", "") == "Union":
            return " | ".join(map(described, args))
        if isinstance(origin, type):
            items = ("..." if item is ... else described(item) for item in args)
            return f"{origin.__name__}[{', '.join(items)}]"
    return str(annotation).replace("typing.", "")
