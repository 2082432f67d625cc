"""Whatever settings a project has: each page opens, each button works, and the REST API answers alike."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from . import projects
from .variants import VARIANTS, Variant

KINDS = ("default", "postgres")
IS_LONG = os.environ.get("VARIETY") == "long"
CHOSEN = os.environ.get("TEST_DATABASES", ",".join(KINDS)).split(",")


def cases() -> Iterator[Any]:
    """A variant and a kind of database: in a short run each variant on few of them, in a long one on all."""
    for variant in VARIANTS.values():
        kinds = KINDS if IS_LONG and variant.is_for_both else variant.databases
        for kind in kinds if IS_LONG or variant.is_in_short_run else ():
            if kind in CHOSEN:
                yield pytest.param(variant, kind, id=f"{variant.name}-{kind}")


@pytest.mark.parametrize(("variant", "kind"), list(cases()))
def test_all_doors_under_all_settings(variant: Variant, kind: str) -> None:
    reference = projects.reference()
    report = projects.visited(variant.name, kind)
    problems = [*report["problems"], *differences(variant, reference, report)]
    assert not problems, "\n".join([f"{len(problems)} problems", *(f"- {each}" for each in problems[:25])])
    doors = ("pages", "rest") if IS_LONG else variant.doors
    assert bool(report["answers"]) is ("rest" in doors)
    if variant.sites and "pages" in doors:
        # So many there are at least in a plain project: the visitor was not turned away.
        assert report["pages"] > 30
        assert len(report["pressed"]) > 15


def differences(variant: Variant, ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    """What else came of a button than in a plain project, and what else the API answers."""
    for pressed in sorted(ours["pressed"].keys() & theirs["pressed"].keys()):
        if ours["pressed"][pressed] != theirs["pressed"][pressed]:
            yield f"{pressed}: {ours['pressed'][pressed]} is {theirs['pressed'][pressed]}"
    if not theirs["answers"]:
        return
    if missing := ours["answers"].keys() ^ theirs["answers"].keys():
        yield f"asked or left out: {sorted(missing)[:5]}"
    for asked in sorted(ours["answers"].keys() & theirs["answers"].keys()):
        if (one := ours["answers"][asked]) == (other := theirs["answers"][asked]):
            continue
        if not variant.is_english and _codes(one) == _codes(other):
            continue
        name = next(name for name in one if one[name] != other[name])
        yield f"{asked}: {name} {_around(str(one[name]), str(other[name]))}"


def _codes(answer: dict[str, Any]) -> Any:
    """An answer without the sentences of an error."""
    if answer["status"] != "refused" and answer["status"] < 400:
        return answer
    body = json.loads(answer["body"])
    return answer["status"], answer["type"], sorted(body), body.get("code")


def _around(one: str, other: str) -> str:
    start = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return f"…{one[max(0, start - 30) : start + 60]!r} is …{other[max(0, start - 30) : start + 60]!r}"
