"""What a run has found, and what it could not do."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Key:
    row: str
    what: str
    unit: str = "/s"


@dataclass
class Figures:
    """Numbers by what was measured and of whom, and the median of each."""

    values: dict[Key, dict[str, list[float]]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, key: Key, name: str, value: float) -> None:
        self.values.setdefault(key, {}).setdefault(name, []).append(value)
        print(f"{key.row:4} {key.what:46} {name:22} {shown(value)} {key.unit}", flush=True)

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)
            print(f"-- {text}", flush=True)

    def medians(self, key: Key) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.values[key].items()}


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
