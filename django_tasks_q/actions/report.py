"""The sum of what an action has done to many jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from django.utils.translation import ngettext

from .done import Reason


@dataclass
class Report:
    """Numbers of jobs, summed over several calls of an action."""

    done: int = 0
    requested: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    #: The position of the next job, as ``Walk.stored()`` returns it.
    position: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, done: Any) -> Self:
        report = cls()
        report.add(done)
        return report

    def add(self, done: Any) -> None:
        self.done += len(done.done)
        self.requested += len(getattr(done, "requested", ()))
        for reason, ids in done.skipped.items():
            self.skipped[reason.value] = self.skipped.get(reason.value, 0) + len(ids)

    @property
    def seen(self) -> int:
        return self.done + self.requested + sum(self.skipped.values())

    @property
    def numbers(self) -> dict[str, Any]:
        return {"done": self.done, "requested": self.requested, "skipped": dict(self.skipped)}

    def stored(self) -> dict[str, Any]:
        """Return the report in JSON types."""
        return {**self.numbers, "position": self.position}

    @classmethod
    def restored(cls, stored: Mapping[str, Any] | None) -> Self:
        if not stored:
            return cls()
        return cls(**{**stored, "skipped": dict(stored["skipped"]), "position": list(stored["position"])})

    def summary(self) -> str:
        """Return a text like "n done, m skipped because …" in the active language."""
        parts = []
        if self.done or not self.requested:
            parts.append(ngettext("%(count)d done", "%(count)d done", self.done) % {"count": self.done})
        if self.requested:
            asked = ngettext("%(count)d asked to end", "%(count)d asked to end", self.requested)
            parts.append(asked % {"count": self.requested})
        for reason, count in self.skipped.items():
            skipped = ngettext(
                "%(count)d skipped because it %(reason)s", "%(count)d skipped because each %(reason)s", count
            )
            parts.append(skipped % {"count": count, "reason": Reason(reason).label})
        return ", ".join(parts)
