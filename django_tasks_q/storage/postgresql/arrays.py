"""Rows as the hot statements take them: one array for each column, as text or in the driver's own form."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from ...lifecycle.outcome import Outcome
from ...lifecycle.states import FINAL
from ..orm.jobs import is_recorded


def array(items: Iterable[str]) -> str:
    """An array as text, which the server reads faster than the driver puts one together."""
    return "{" + ",".join(items) + "}"


def quoted(text: str | None) -> str:
    return "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number(value: float | None) -> str:
    return "NULL" if value is None else str(value)


def successes(outcomes: Collection[Outcome]) -> dict[str, str]:
    return {
        "id": array([outcome.job_id.hex for outcome in outcomes]),
        "fence": array([str(outcome.fence) for outcome in outcomes]),
        "result": array([quoted(outcome.result) for outcome in outcomes]),
        "duration": array([_number(outcome.duration) for outcome in outcomes]),
    }


def endings(outcomes: Collection[Outcome]) -> dict[str, Any]:
    rows = map(_ending, outcomes)
    return dict(zip(_Ending._fields, map(list, zip(*rows, strict=True)), strict=True))


class _Ending(NamedTuple):
    """A row of the FINISH statement's parameters, which are one array a field."""

    id: UUID
    fence: int
    status: str
    final: bool
    delay: float | None
    result: str | None
    duration: float | None
    kind: str
    recorded: bool
    uncounted: bool
    crashed: bool
    rescued: bool
    code: str
    exception: str
    message: str
    traceback: str
    exit_status: int | None
    data: str | None


def _ending(outcome: Outcome) -> _Ending:
    failure, admission = outcome.failure, outcome.admission
    return _Ending(
        id=outcome.job_id,
        fence=outcome.fence,
        status=outcome.status.value,
        final=outcome.status in FINAL,
        delay=admission.delay if admission else None,
        result=outcome.result,
        duration=outcome.duration,
        kind=outcome.kind.value,
        recorded=is_recorded(outcome, 1),
        uncounted=outcome.is_uncounted,
        crashed=outcome.is_crash,
        rescued=outcome.is_rescue,
        code=failure.code if failure else "",
        exception=failure.exception_class if failure else "",
        message=failure.message if failure else "",
        traceback=failure.traceback if failure else "",
        exit_status=failure.exit_status if failure else None,
        data=failure.data if failure else None,
    )
