"""The geometry of charts, which templates draw as SVG without scripts or inline styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.utils.formats import date_format

from ..storage.timestamps import local
from ..validation import plain

WIDTH, HEIGHT = 720, 180
LEFT, BOTTOM, TOP = 44, 22, 8


class Bar(NamedTuple):
    x: float
    width: float
    good_y: float
    good_height: float
    bad_y: float
    bad_height: float
    title: str


class Mark(NamedTuple):
    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Stacked bars over time with a scale on the left."""

    bars: list[Bar]
    lines: list[Mark]
    times: list[Mark]
    good: int
    bad: int
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM

    @property
    def is_empty(self) -> bool:
        return not self.good and not self.bad


class Step(NamedTuple):
    """The numbers of one step of time."""

    start: datetime
    good: int
    bad: int


def stacked(steps: Sequence[Step], titles: Sequence[str], is_long: bool) -> Chart:
    """Return a chart with a bar for each step: the good ones, and the bad ones on top of them."""
    highest = scale_top(max((step.good + step.bad for step in steps), default=0))
    floor, space = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    slot = (WIDTH - LEFT) / max(1, len(steps))
    bars = []
    for number, (step, title) in enumerate(zip(steps, titles, strict=True)):
        good, bad = space * step.good / highest, space * step.bad / highest
        # A single failure stays visible on any scale.
        bad = max(bad, 2.0) if step.bad else 0.0
        x = LEFT + slot * number
        bars.append(
            Bar(
                _round(x + slot * 0.1),
                _round(slot * 0.8),
                _round(floor - good),
                _round(good),
                _round(floor - good - bad),
                _round(bad),
                title,
            )
        )
    lines = [Mark(_round(floor - space * part), plain(highest * part)) for part in (0, 0.5, 1)]
    shape = "j M" if is_long else "H:i"
    every = max(1, len(steps) // 6)
    times = [
        Mark(_round(LEFT + slot * (number + 0.5)), date_format(local(step.start), shape))
        for number, step in enumerate(steps)
        if number % every == every // 2
    ]
    return Chart(bars, lines, times, sum(step.good for step in steps), sum(step.bad for step in steps))


def sparkline(values: Sequence[int], width: int = 96, height: int = 22) -> str:
    """Return the points of an SVG polyline through the values."""
    if max(values, default=0) <= 0 or len(values) < 2:
        return ""
    highest, step = max(values), width / (len(values) - 1)
    return " ".join(
        f"{_round(number * step)},{_round(height - 1 - (height - 2) * value / highest)}"
        for number, value in enumerate(values)
    )


def scale_top(highest: float) -> int:
    """Return the smallest round number that is not below ``highest``, as the top of a scale."""
    size = 2
    while True:
        for factor in (1, 2, 4, 5):
            if size == 2 and factor > 1:
                break
            if highest <= factor * size:
                return factor * size
        size = 10 if size == 2 else size * 10


def _round(value: float) -> float:
    return round(value, 1)
