"""Checks of single option values, shared by the decorator, ``using()`` and the settings."""

import logging
import math
import re
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from django.utils.functional import Promise

#: The longest duration an option may name, in seconds: a hundred years.
LONGEST = 100 * 365 * 24 * 3600.0


def plain(number: float | None) -> str:
    """Return a number as text without an exponent, with up to six digits after the point."""
    if number is None or not math.isfinite(number):
        return str(number)
    text = f"{Decimal(repr(round(float(number), 6) or float(number))):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def seconds(value: Any, name: str, *, minimum: float = 0.0, maximum: float = LONGEST) -> float:
    """Return a duration given as seconds or ``timedelta``, as seconds.

    Raises TypeError or ValueError naming ``name``.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, not {value!r:.100}.")
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise ValueError(f"{name} must be between {plain(minimum)} and {maximum:.0f} seconds, not {value!r}.")
    return float(value)


def whole(value: Any, name: str, *, minimum: int, maximum: int = 2**31 - 1) -> int:
    """Return a whole number within bounds. Raises TypeError or ValueError naming ``name``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r:.100}.")
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} must be between {minimum} and {maximum}, not {value}.")
    return int.__int__(value)


def exact_text(value: Any) -> str:
    """Return a plain string for an instance of a subclass, or for lazy text in the active language."""
    # The base class copies it, whatever the subclass has overridden: safe strings answer themselves.
    return str.__str__(value if issubclass(type(value), str) else str(value))


def one_line(value: Any, name: str, *, maximum: int) -> str:
    """Return a non-empty printable string of at most ``maximum`` characters.

    Raises TypeError or ValueError.
    """
    if not isinstance(value, str | Promise):
        raise TypeError(f"{name} must be a string, not {value!r:.100}.")
    value = exact_text(value)
    if not value or len(value) > maximum or not value.isprintable():
        raise ValueError(f"{name} must be 1 to {maximum} printable characters, not {value!r:.100}.")
    return str(value)


def kept_seconds(value: Any, name: str) -> float:
    """Return a time to keep something, in seconds, rounded up to three digits.

    Jobs are looked for by each different value, so there must not be as many as there are jobs.
    """
    exact = seconds(value, name, minimum=0.001)
    unit = 10.0 ** (math.floor(math.log10(exact)) - 2)
    return round(math.ceil(round(exact / unit, 6)) * unit, 6)


#: The smallest limit of memory, in bytes: Python itself takes memory in such pieces.
SMALLEST_MEMORY = 1 << 20
_MEMORY = re.compile(r"(\d+)\s*(?:([KMGT])(?:i|iB)?)?", re.ASCII | re.IGNORECASE)


def memory_size(value: Any, name: str) -> int:
    """Return a number of bytes, given as such or as text such as ``512M``; K, M, G and T count by 1024.

    Raises TypeError or ValueError naming ``name``.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{name} must be a number of bytes or text such as '512M', not {value!r:.100}.")
    size = value
    if isinstance(size, str):
        parts = _MEMORY.fullmatch(size.strip()[:20])
        if parts is None:
            raise ValueError(f"{name} must be a number of bytes or text such as '512M', not {value!r:.100}.")
        size = int(parts[1]) << 10 * (" KMGT".index((parts[2] or " ").upper()))
    if not SMALLEST_MEMORY <= size <= 1 << 50:
        raise ValueError(f"{name} must be between 1M and 1024T, not {value!r:.100}.")
    return int.__int__(size)


def flag(value: Any, name: str) -> bool:
    """Return a flag. Raises TypeError naming ``name`` for anything but True and False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r:.100}.")
    return value


def words(value: Any, name: str, *, maximum: int = 64) -> tuple[str, ...]:
    """Return a list of short printable strings, each once. Raises TypeError or ValueError naming ``name``."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise TypeError(f"{name} must be a list of strings, not {value!r:.100}.")
    return tuple(dict.fromkeys(one_line(word, f"each of {name}", maximum=maximum) for word in value))


def log_level(value: Any, name: str) -> int:
    """Return a level of logging, by name or number; True stands for INFO, False for none, which is 0."""
    if isinstance(value, bool):
        return logging.INFO if value else 0
    level = logging.getLevelNamesMapping().get(value.upper()) if isinstance(value, str) else value
    if not isinstance(level, int) or not 0 <= level <= logging.CRITICAL:
        raise ValueError(f"{name} must be True, False or a level such as 'INFO', not {value!r:.100}.")
    return level


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for a name close to a known one, else nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
