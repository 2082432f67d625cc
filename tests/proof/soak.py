"""A long run under kills, and how much of the machine the workers hold as it goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Job

from .chaos import Plan, Report
from .fleet import Fleet
from .leaks import Holdings, sessions, slope

#: What a worker may grow by: bytes of memory each 10,000 tasks, and the others between first and last.
RSS_BOUND = 1_000_000
BOUND = 1.2


def plan(seconds: float, seed: int, tasks: int) -> Plan:
    """Kills every five seconds while ``tasks`` come in."""
    return Plan(
        seconds=seconds, seed=seed, mix="light", faults="kills", pause=5.0, workers=3, spared=1, callers=4,
        per_second=1.1 * tasks / seconds, limit=tasks, lease=5.0, drain=300.0,
    )  # fmt: skip


@dataclass
class Gauge:
    """Looks now and then at the worker that is spared: the others are never old."""

    alias: str
    every: float = 10.0
    samples: list[tuple[int, int, Holdings]] = field(default_factory=list)
    _look_at: float = 0.0

    def __call__(self, fleet: Fleet) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self.every
        done = Job.objects.using(self.alias).filter(status__in=FINAL).count()
        self.samples.append((done, sessions(self.alias), Holdings.of(fleet.workers[0].tree())))

    @property
    def growth(self) -> float:
        """Bytes of memory that it gains each 10,000 tasks, after the first few samples."""
        settled = self.samples[len(self.samples) // 5 :]
        return slope([(done, holdings.rss) for done, _, holdings in settled]) * 10_000

    def problems(self) -> list[str]:
        if len(self.samples) < 5:
            return []
        found = []
        if self.growth > RSS_BOUND:
            found.append(f"I8 memory grows by {self.growth / 1e6:.1f} MB each 10,000 tasks")
        half = len(self.samples) // 2
        for name in ("processes", "threads", "fds", "zombies"):
            early = max(getattr(holdings, name) for _, _, holdings in self.samples[:half])
            late = max(getattr(holdings, name) for _, _, holdings in self.samples[half:])
            if late > early * BOUND + 5:
                found.append(f"I8 {name} went from {early} to {late}")
        early_sessions = max(count for _, count, _ in self.samples[:half])
        late_sessions = max(count for _, count, _ in self.samples[half:])
        if late_sessions > early_sessions * BOUND + 5:
            found.append(f"I8 sessions went from {early_sessions} to {late_sessions}")
        return found

    def markdown(self, report: Report) -> str:
        rows = [
            "| tasks done | sessions | processes | threads | fds | memory, MB |",
            "|--:|--:|--:|--:|--:|--:|",
        ]
        step = max(1, len(self.samples) // 10)
        for done, count, held in self.samples[::step]:
            cells = (done, count, held.processes, held.threads, held.fds, f"{held.rss / 1e6:.0f}")
            rows.append(f"| {' | '.join(map(str, cells))} |")
        verdict = "passed" if not report.problems else "failed"
        summary = [f"- {line}" for line in str(report).splitlines()]
        growth = f"- memory: {self.growth / 1e6:+.2f} MB each 10,000 tasks"
        return "\n".join([f"## Soak {verdict}", "", *summary, growth, "", *rows])
