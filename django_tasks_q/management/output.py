"""The output of commands, for people or for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID


class Printer:
    """Write tables and facts as text, or one JSON value."""

    def __init__(self, write: Callable[[str], Any], *, as_json: bool) -> None:
        self.write = write
        self.as_json = as_json

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[Any]], data: Any) -> None:
        if self.as_json:
            self.json(data)
            return
        cells = [list(titles), *([_cell(value) for value in row] for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
        for row in cells:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.write("  ".join(padded).rstrip())

    def facts(self, facts: Mapping[str, Any]) -> None:
        if self.as_json:
            self.json(facts)
            return
        width = max(map(len, facts), default=0)
        for key, value in facts.items():
            shown = value if isinstance(value, str) else json.dumps(value, default=_plain, ensure_ascii=False)
            self.write(f"{_cell(key).ljust(width)}  {on_terminal(shown)}".rstrip())

    def line(self, text: str, data: Any) -> None:
        if self.as_json:
            self.json(data)
        else:
            self.write(on_terminal(text))

    def json(self, data: Any) -> None:
        self.write(json.dumps(_finite(data), indent=2, default=_plain))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case set() | frozenset():
            return sorted(map(str, value))
    return str(value)


def _finite(value: Any) -> Any:
    """Return the value with None instead of NaN and infinity, which JSON does not have."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return on_terminal(str(value)).replace("\n", " ")


def on_terminal(text: str) -> str:
    """Return the text with control characters escaped as in Python, so that a terminal does not obey them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun: ``1 job``, ``2 jobs``."""
    return f"{number} {one if number == 1 else several or one + 's'}"
