"""Masks secret values, which are known by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

#: What is shown in place of a secret.
MASK = "********"

# "key" has to be a whole word, or part of a well-known pair: monkeys and keyboards are no secrets.
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|authori[sz]ation|api[_-]?key|private[_-]?key"
    r"|(^|[^a-z])keys?($|[^a-z])",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

#: Shorter ones are not looked for in texts, where they would hide half of every word.
MIN_REDACTED = 4
#: Shorter beginnings of secrets are left at the end of a text that was cut.
MIN_PART = 6


def is_secret(name: object, names: Collection[str] = ()) -> bool:
    """Return whether what goes by that name is not to be shown, by the pattern or by one of ``names``."""
    if not isinstance(name, str):
        return False
    return name.lower() in {each.lower() for each in names} or bool(_SECRET.search(_HUMP.sub("_", name)))


def masked(value: Any, names: Collection[str] = ()) -> Any:
    """Return a copy of a JSON value in which all that dicts hold under secret names is masked."""
    if isinstance(value, Mapping):
        return {
            key: MASK if is_secret(key, names) and item is not None else masked(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, names) for item in value]
    return value


def cleaned(value: Any, secrets: Collection[str]) -> Any:
    """Return a JSON value without the secrets that are in its texts, its keys and its numbers."""
    if not secrets:
        return value
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, list):
        return [cleaned(item, secrets) for item in value]
    if isinstance(value, dict):
        return {redacted(key, secrets): cleaned(item, secrets) for key, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in secrets:
        return MASK
    return value


def redacted(text: str, secrets: Iterable[str], cut: int | None = None) -> str:
    """Return a text, such as an error's, without secrets.

    A text that was cut to ``cut`` characters may end within a secret: its beginning is masked, too.
    """
    is_cut = cut is not None and len(text) >= cut
    ordered = sorted(secrets, key=len, reverse=True)
    for secret in ordered:
        text = text.replace(secret, MASK)
    if is_cut:
        ends = [_part_at_end(text, secret) for secret in ordered]
        if longest := max(ends, default=0):
            text = text[:-longest] + MASK
    return text


def _part_at_end(text: str, secret: str) -> int:
    """Return how many characters of a secret's beginning the text ends with; none if they are too few."""
    lengths = range(min(len(secret) - 1, len(text)), MIN_PART - 1, -1)
    return next((length for length in lengths if text.endswith(secret[:length])), 0)


def hidden(value: Any) -> Any:
    """Return the mask in place of any value but None."""
    return None if value is None else MASK


def secrets_in(items: Iterable[tuple[Any, Any]], names: Collection[str], inside: bool) -> Iterable[str]:
    """Yield the texts of secrets among named values, in every form that errors show them in.

    ``inside`` is true where all of the values are secret.
    """
    for name, value in items:
        hidden = inside or is_secret(name, names)
        if isinstance(value, Mapping):
            yield from secrets_in(value.items(), names, hidden)
            if hidden:
                yield from secrets_in([(None, key) for key in value], names, hidden)
        elif isinstance(value, list | tuple):
            yield from secrets_in([(None, item) for item in value], names, hidden)
        elif hidden and not isinstance(value, bool) and value is not None and len(str(value)) >= MIN_REDACTED:
            text = str(value)
            yield text
            # As errors show it, whose quotes and line breaks are written otherwise.
            yield from {repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
