"""What columns may hold that this release has not written: what people, programs and later releases do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.db.backends.base.operations import BaseDatabaseOperations

from django_tasks_q.storage.timestamps import native

#: An element and an attribute that no template makes, and what a template would compute.
ELEMENT = "x-alien"
COMPUTED = "70007"
HTML = f'<{ELEMENT}>"\'><{ELEMENT} {ELEMENT}="1">{{{{ 7|add:70000 }}}}'
TRAP = "tests.variety.trap.sprung"
TEXTS = {
    "markup": HTML,
    "terminal": "\x1b]0;owned\x07\x1b[2J\x9b31m\x08\x7f",
    "lines": "a\r\nb\u2028c\x85d\te",
    "directions": "\u202egnp.exe\u2066\u200f\ufeff",
    "name": TRAP,
    "address": "javascript:alert(1)//" + "../../",
    "formula": "=cmd|'/c calc'!A1",
    "null": "a\x00b",
    "empty": "",
}
DEEP = 20_000
#: JSON of other shapes, JSON that some parsers take, and none at all.
DOCUMENTS = {
    "none": "null",
    "number": "1",
    "word": '"x"',
    "list": "[]",
    "object": "{}",
    "two lists": "[[],[]]",
    "two objects": "[{},{}]",
    "three": "[[],{},{}]",
    "cut": '[[1],{"a":',
    "not a number": "[[NaN],{}]",
    "infinity": "[[-Infinity, 1e999],{}]",
    "half a pair": r'[["\ud800"],{"\udfff":"\ud800"}]',
    "zero": r'[["a\u0000b"],{"\u0000":1}]',
    "digits": f"[[{'9' * 5000}],{{}}]",
    "deep list": "[" * DEEP + "]" * DEEP,
    "deep objects": '[[],{"a":' + '{"a":' * DEEP + "1" + "}" * DEEP + "}]",
    "markup in it": json.dumps([[HTML], {HTML: HTML, "password": HTML}]),
    "controls in it": json.dumps([[TEXTS["terminal"]], {TEXTS["lines"]: TEXTS["directions"]}]),
    "other keys": '{"version": 9, "args": [], "kwargs": {}}',
    "only markup": json.dumps([HTML, None, 1, [HTML], {HTML: 1}]),
}
LARGE = {"large": '[["' + "x" * 1_000_000 + '"],{}]'}


def values(field: Any) -> Iterator[tuple[str, Any]]:
    """Values of a column by their names, whatever it is for."""
    if field.null:
        yield "null", None
    match field:
        case models.BooleanField():
            yield from (("yes", True), ("no", False))
        case models.UUIDField():
            yield from (("least", UUID(int=0)), ("most", UUID(int=2**128 - 1)))
        case models.DateTimeField():
            for name, moment in (
                ("least", datetime(1, 1, 1)),
                ("early", datetime(1, 1, 2, 12)),
                ("late", datetime(9999, 12, 30, 12)),
                ("most", datetime(9999, 12, 31, 23, 59, 59, 999999)),
            ):
                yield name, native(moment.replace(tzinfo=UTC))
        case models.FloatField():
            for number in (0.0, -1.0, 1e308, -1e308, 5e-324, float("inf"), float("nan")):
                yield str(number), number
        case models.IntegerField():
            # SQLite would take more than the others.
            for number in BaseDatabaseOperations.integer_field_ranges[field.get_internal_type()]:
                yield str(number), number
        case models.CharField():
            for name, text in TEXTS.items():
                yield name, text[: field.max_length]
            yield "future", "FUTURE"[: field.max_length]
            yield "long", ("W" * field.max_length)[: field.max_length]
        case models.TextField():
            yield from TEXTS.items()
            yield from DOCUMENTS.items()
            yield from LARGE.items()


#: Of each kind of column, the values that a short run opens: what is left is much like one of these.
SHORT = {
    "CharField": {"null", "markup", "terminal", "future", "name", "directions"},
    "TextField": {
        *("null", "markup", "terminal", "none", "number", "object", "two objects"),
        *("not a number", "infinity", "half a pair", "digits", "deep list"),
        *("markup in it", "controls in it", "only markup", "large"),
    },
    "DateTimeField": {"null", "least", "most"},
    "FloatField": {"null", "inf", "nan", "-1e+308"},
}


def some_values(field: Any) -> list[tuple[str, Any]]:
    """Those of a short run."""
    found = list(values(field))
    names = SHORT.get(field.get_internal_type())
    return found if names is None else [(name, value) for name, value in found if name in names]
