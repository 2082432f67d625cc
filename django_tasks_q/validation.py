"""Checks of single option values, shared by the decorator, ``using()`` and the settings."""

import math
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

#: The longest duration an option may name, in seconds: a hundred years.
LONGEST = 100 * 365 * 24 * 3600.0


def seconds(value: Any, name: str, *, minimum: float = 0.0, maximum: float = LONGEST) -> float:
    """A duration given as seconds or ``timedelta``, as seconds.

    Raises TypeError or ValueError naming ``name``.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or a timedelta, not {value!r:.100}.")
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise ValueError(f"{name} must be between {minimum:g} and {maximum:.0f} seconds, not {value!r}.")
    return float(value)


def whole(value: Any, name: str, *, minimum: int, maximum: int = 2**31 - 1) -> int:
    """A whole number within bounds. Raises TypeError or ValueError naming ``name``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r:.100}.")
    if not minimum <= value <= maximum:
        raise ValueError(f"{name} must be between {minimum} and {maximum}, not {value}.")
    return value


def one_line(value: Any, name: str, *, maximum: int) -> str:
    """A non-empty printable string of at most ``maximum`` characters. Raises TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {value!r:.100}.")
    if not value or len(value) > maximum or not value.isprintable():
        raise ValueError(f"{name} must be 1 to {maximum} printable characters, not {value!r:.100}.")
    return value


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for a name close to a known one, else nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
