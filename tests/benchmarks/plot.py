"""A bar chart as SVG, by hand: one chart needs no library."""

from __future__ import annotations

import math
from html import escape

from .contenders.ours import OURS
from .figures import Figures, shown

WIDTH, NAMES, BAR = 900, 380, 18


def svg(figures: Figures) -> str:
    """Rates as bars on a logarithmic scale, by row."""
    rates = {key: figures.medians(key) for key in figures.values if key.unit == "/s"}
    highest = max((rate for medians in rates.values() for rate in medians.values()), default=10)
    decades = math.ceil(math.log10(max(highest, 10)))
    lines, y = [], 10
    for key, medians in rates.items():
        y += 8
        lines.append(_text(8, y + 13, f"{key.row}: {key.what}", "font-weight='bold'"))
        y += BAR + 2
        for name, rate in medians.items():
            length = max(1.0, math.log10(max(rate, 1)) / decades * (WIDTH - NAMES - 80))
            colour = "#2563eb" if name.startswith(OURS.name) else "#9ca3af"
            lines.append(_text(24, y + 13, name))
            lines.append(
                f"<rect x='{NAMES}' y='{y + 2}' width='{length:.0f}' height='{BAR - 4}' fill='{colour}'/>"
            )
            lines.append(_text(int(NAMES + length) + 6, y + 13, f"{shown(rate)}/s"))
            y += BAR
    lines.append(_text(NAMES, y + 22, "jobs a second, logarithmic scale"))
    size = f"width='{WIDTH}' height='{y + 34}'"
    background = f"<rect {size} fill='white'/>"
    style = "font-family='sans-serif' font-size='12'"
    body = "\n".join([background, *lines])
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {style}>\n{body}\n</svg>\n"


def _text(x: int, y: int, text: str, style: str = "") -> str:
    return f"<text x='{x}' y='{y}' {style}>{escape(text)}</text>"
