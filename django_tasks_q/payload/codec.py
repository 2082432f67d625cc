"""Strict JSON: whatever passes here is stored and read back alike by every supported database.

Django's own ``normalize_json`` lets non-string keys, NaN, NUL and lone surrogates through,
and each database then refuses different ones of them (docs/adr/0003).
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.functional import Promise

from ..exceptions import UnserializableValue, UnstorableValue
from ..validation import exact_text

MAX_DEPTH = 64
#: Bytes kept of a message or traceback: half from its head, half from its tail.
MAX_TEXT_BYTES = 64 * 1024

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)


def dump_arguments(args: Sequence[Any], kwargs: Mapping[str, Any], max_bytes: int) -> str:
    """Encode a call's arguments as one JSON text, ``[args, kwargs]``. Raises what ``dumps`` raises."""
    try:
        for index, value in enumerate(args):
            _check(value, f"Argument {index}", 1)
        for name, value in kwargs.items():
            _check(value, f"Argument {name}", 1)
    except _HasSubclass:
        return dump_arguments(plain(list(args)), plain(dict(kwargs)), max_bytes)
    return _encoded([list(args), dict(kwargs)], "The arguments", max_bytes)


def dumps(value: Any, *, what: str, max_bytes: int | None = None) -> str:
    """Encode ``value`` as JSON text.

    ``what`` names the value in error messages; ``max_bytes`` bounds the encoded size in bytes.
    Tuples become lists, and instances of subclasses what they extend. Raises UnserializableValue for a
    type JSON lacks, UnstorableValue for a value that some database would refuse or change.
    """
    try:
        _check(value, what, 0)
    except _HasSubclass:
        value = plain(value)
        _check(value, what, 0)
    return _encoded(value, what, max_bytes)


def _encoded(value: Any, what: str, max_bytes: int | None) -> str:
    try:
        # Most results are None or a number.
        text = "null" if value is None else str(value) if type(value) is int else _encoder.encode(value)
    except ValueError as error:  # an int beyond sys.get_int_max_str_digits()
        raise UnstorableValue(f"{what} cannot be stored: {error}.") from None
    if max_bytes is not None and len(text) * 4 > max_bytes:
        size = len(text.encode())
        if size > max_bytes:
            raise UnstorableValue(
                f"{what} would take {size:,} bytes as JSON; the limit is {max_bytes:,}. "
                "Store large data elsewhere and pass a reference to it."
            )
    return text


class _HasSubclass(Exception):
    """Somewhere in a value is one that only extends a JSON type."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value in JSON's types, where parts of it are instances of subclasses, or lazy text.

    Safe strings, members of enums of text and of numbers, defaultdicts and the like become the type that they
    extend. Lazy translations become text in the active language. A value of another type is left as it is.
    Raises UnstorableValue for what is nested too deep, or has two keys of one text.
    """
    if type(value) in _EXACT:
        return value
    if isinstance(value, str | Promise):
        return exact_text(value)
    for base, copied in _NUMBERS:
        if isinstance(value, base):
            # A proxy only claims to be one, and is asked for what it stands for.
            return copied(value if issubclass(type(value), base) else base(value))
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= MAX_DEPTH:
        raise UnstorableValue(f"A value is nested deeper than {MAX_DEPTH} levels.")
    if not isinstance(value, dict):
        return [plain(item, depth + 1) for item in value]
    items = list(value.items())
    found = {plain(key, depth + 1): plain(item, depth + 1) for key, item in items}
    if len(found) < len(items):
        raise UnstorableValue(f"Two keys of {list(value)!r:.100} are the same text.")
    return found


#: How the base class itself copies what extends it, whatever that has overridden.
_NUMBERS: tuple[tuple[Any, Any], ...] = ((int, int.__int__), (float, float.__float__))
_EXACT = frozenset({str, int, float, bool, type(None)})

#: Deepest nesting of a text that is read; other programs may have written it.
MAX_READ_DEPTH = 4 * MAX_DEPTH


def loads(text: str) -> Any:
    """Read a text that ``dumps`` or ``dump_arguments`` has made.

    Raises ValueError for what they do not make and others may have stored: what is no JSON, is nested too
    deep, or holds a number or a text that no answer could show.
    """
    value = _decode(text)
    if "\\ud" in text or "\\uD" in text:
        _encoder.encode(value).encode()  # raises UnicodeEncodeError for half a character
    return value


def load_arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Read a text that ``dump_arguments`` has made. Raises ValueError for any other, as ``loads`` does."""
    match loads(text):
        case [list() as args, dict() as kwargs]:
            return args, kwargs
    raise ValueError("This is JSON, but no list of positional and named arguments.")


def _decode(text: str) -> Any:
    if text.count("[") + text.count("{") > MAX_READ_DEPTH and _is_deep(text):
        raise ValueError(f"The JSON is nested deeper than {MAX_READ_DEPTH} levels.")
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("The JSON is nested too deep.") from None


def _is_deep(text: str) -> bool:
    depth = 0
    for mark in _MARKS.sub("", text):
        if mark in "[{":
            depth += 1
            if depth > MAX_READ_DEPTH:
                return True
        elif mark in "]}":
            depth -= 1
    return False


#: Texts, and all else that neither opens nor closes anything.
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[^][{}"]+', re.DOTALL)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is no number that JSON has.")
    return number


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
#: ``loads()`` without the check of its depth, for the arguments of the job that is run.
decode = _decoder.decode


def _check(value: Any, path: str, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value, path)
    elif kind is int or kind is bool or value is None:
        return
    elif kind is float:
        if not math.isfinite(value):
            raise UnstorableValue(f"{path} is {value}, which JSON cannot hold; use None or a string.")
    elif depth >= MAX_DEPTH:
        raise UnstorableValue(f"{path.partition('[')[0]} is nested deeper than {MAX_DEPTH} levels.")
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                if isinstance(key, str | Promise):
                    raise _HasSubclass
                raise UnserializableValue(
                    f"{path} has the key {key!r:.100}; JSON keys are strings, so use {str(key)!r:.100}."
                )
            _check_text(key, f"{path} key")
            _check(item, f"{path}[{key!r:.50}]", depth + 1)
    elif kind is list or kind is tuple:
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str | int | float | dict | list | tuple | Promise):
        raise _HasSubclass
    else:
        raise UnserializableValue(
            f"Unsupported type: {path} is of type {kind.__module__}.{kind.__qualname__}, which JSON cannot "
            f"hold; {_advice(kind, path)}."
        )


def _advice(kind: type, path: str) -> str:
    """Return what to do about a value that JSON cannot hold."""
    from .annotations import converter_for

    if converter_for(kind) is None:
        return (
            "pass strings, numbers, booleans, None, lists and dicts (for a model instance, its primary key)"
        )
    place = path.removeprefix("Argument ")
    if place == path:
        return f"annotate what the function returns with {kind.__name__}, so that it is read back as one"
    example = f"{place}: {kind.__name__}" if place.isidentifier() else kind.__name__
    return f"annotate the parameter, so that it is read back as one (such as `{example}`)"


def _check_text(value: str, path: str) -> None:
    if "\x00" in value:
        raise UnstorableValue(f"{path} has a NUL character, which databases refuse; remove it.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UnstorableValue(
                f"{path} has a lone surrogate at position {error.start}, which no database stores; remove it."
            ) from None


def printable(text: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return ``text`` as every database stores it: NUL and surrogates escaped, the middle cut if too long."""
    text = text.replace("\x00", "\\x00")
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > max_bytes:
        half = max_bytes // 2
        cut = len(data) - 2 * half
        data = data[:half] + f"\n… {cut:,} bytes cut …\n".encode() + data[-half:]
    return data.decode("utf-8", "ignore")
