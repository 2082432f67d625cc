"""Whether a value is what an annotation says."""

from __future__ import annotations

import collections.abc as abc
import inspect
import types
import typing
from datetime import date, datetime
from typing import Any, Literal, NotRequired, Required, TypeVar, get_args, get_origin

from django.utils.functional import Promise

from . import hints
from .hints import bare, described, is_alias, is_unpacked, is_unresolved

# In a tuple, where what stops the clock in tests does not look for names to replace.
_CLOCKS = (date, datetime)
UNIONS = (typing.Union, types.UnionType)


def matches(annotation: Any, value: Any) -> bool:
    """Return whether a value is of an annotated type, its items included.

    A bool is no int, an int is a float, a datetime is no date. What cannot be checked is taken to match.
    """
    annotation = bare(annotation)
    if is_alias(annotation):
        return matches(annotation.__value__, value)
    if says_nothing(annotation):
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        return any(matches(arg, value) for arg in args)
    if origin is Literal:
        return any(type(arg) is type(value) and arg == value for arg in args)
    kind = origin or annotation
    if typing.is_typeddict(kind):
        return _matches_typed_dict(kind, value)
    return _is_instance(value, kind) and (not args or _items_match(kind, args, value))


def _is_instance(value: Any, kind: type) -> bool:
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if kind is _CLOCKS[0]:
        return isinstance(value, kind) and not isinstance(value, _CLOCKS[1])
    if kind is str:
        return isinstance(value, str | Promise)
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol, whose members would have to be called
        return True


def _items_match(kind: type, args: tuple[Any, ...], value: Any) -> bool:
    if isinstance(value, abc.Mapping):
        if len(args) != 2:
            return True
        return all(matches(args[0], key) and matches(args[1], item) for key, item in value.items())
    if kind is tuple:
        if args[-1] is ...:
            return all(matches(args[0], item) for item in value)
        if any(map(is_unpacked, args)):
            return True
        return len(args) == len(value) and all(map(matches, args, value))
    if isinstance(value, list | tuple | set | frozenset | abc.Set) and len(args) == 1:
        return all(matches(args[0], item) for item in value)
    return True


def _matches_typed_dict(kind: Any, value: Any) -> bool:
    known = hints.hints_of_class(kind)
    return (
        isinstance(value, dict)
        and required_keys(kind, known) <= value.keys() <= known.keys()
        and all(matches(known[key], item) for key, item in value.items())
    )


def required_keys(kind: Any, known: dict[str, Any]) -> frozenset[str]:
    """Return the keys that a TypedDict of these hints must have."""
    # The class could not evaluate annotations that are text.
    return frozenset(
        key
        for key, annotation in known.items()
        if get_origin(annotation) is Required
        or (key in kind.__required_keys__ and get_origin(annotation) is not NotRequired)
    )


def says_nothing(annotation: Any) -> bool:
    """Return whether every value would match."""
    annotation = bare(annotation)
    if is_alias(annotation):
        return False
    if get_origin(annotation) in UNIONS:
        return any(map(says_nothing, get_args(annotation)))
    kind = get_origin(annotation) or annotation
    return (
        kind is Any
        or kind is object
        or annotation is inspect.Parameter.empty
        or is_unresolved(annotation)
        or isinstance(annotation, TypeVar)
        or not (isinstance(kind, type) or kind is Literal)
    )


def problem_of(annotation: Any) -> str | None:
    """Return why nothing can be checked by an annotation, in one sentence; None where something can."""
    if annotation is inspect.Parameter.empty:
        return "There is no annotation."
    if is_unresolved(annotation):
        text = getattr(annotation, "__forward_arg__", annotation)
        return f"The annotation {text!r:.100} cannot be looked up."
    if says_nothing(annotation):
        return f"The annotation {described(annotation)} says nothing that could be checked."
    return None
