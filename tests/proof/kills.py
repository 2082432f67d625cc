"""Workers that are killed in a stream of short jobs: only what had begun may count, fail or become poison."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from django_tasks_q.lifecycle.retry import UNCOUNTED_RESCUES
from django_tasks_q.models import Attempt, Job

from ..faults import tasks
from .chaos import Chaos, Plan, Report
from .invariants import stories

MAX_CRASHES = 3
#: Jobs that one worker runs at a time in a fleet.
PLACES = 2


def plan(kills: int, seconds: float, seed: int, workers: int = 3, pause: float = 0.2) -> Plan:
    return Plan(
        seconds=seconds, seed=seed, mix="brief", faults="busy", faults_at_most=kills, pause=pause,
        workers=workers, callers=2, per_second=120.0, lease=2.0, max_crashes=MAX_CRASHES,
        drain=60.0 + seconds,
    )  # fmt: skip


@dataclass
class Kills:
    """A run, and what its jobs have noted when they began."""

    alias: str
    folder: Path
    #: Of jobs that failed with their workers, how many had noted their beginning, and how many had not.
    figures: Counter[str] = field(default_factory=Counter)

    def run(self, env: dict[str, str], plan: Plan) -> Report:
        return Chaos(self.alias, env, self.folder, plan, self.problems).run()

    def problems(self) -> list[str]:
        begun = self._noted("begun")
        return [*self._uncounted(self._noted("ended")), *self._once(begun), *self._poison(begun)]

    def _noted(self, what: str) -> dict[UUID, list[int]]:
        noted: dict[UUID, list[int]] = defaultdict(list)
        path = self.folder / what
        for line in path.read_text().splitlines() if path.exists() else ():
            job, fence = line.split()
            noted[UUID(job)].append(int(fence))
        return noted

    def _uncounted(self, ended: dict[UUID, list[int]]) -> list[str]:
        """What a kill cost is what its worker's children had been given, and not what it had claimed.

        A job whose code has ended has left its place to the next one, also while its ending is not written.
        """
        lost = Attempt.objects.using(self.alias).filter(outcome="lost")
        each = Counter(
            worker
            for worker, job, fence in lost.values_list("worker_id", "job_id", "fence")
            if fence not in ended[job]
        )
        self.figures["most lost with one worker"] = max(each.values(), default=0)
        problems = [f"K1 {count} attempts count as lost with one worker" for count in each.values()
                    if count > PLACES]  # fmt: skip
        for story in stories(self.alias).values():
            marks = {event.old_fence: event.begun_fence for event in story.events if event.is_leave}
            for attempt in story.attempts:
                self.figures[attempt["outcome"]] += 1
                if attempt["outcome"] == "lost" and marks.get(attempt["fence"]) != attempt["fence"]:
                    problems.append(f"K1 unmarked, and counted: {story}")
        return problems

    def _once(self, begun: dict[UUID, list[int]]) -> list[str]:
        """A job that must not run twice never does, and fails only if a child was free for it."""
        problems = []
        rows = Job.objects.using(self.alias).filter(task_name=tasks.brief_once.name)
        for id, status, code, fence in rows.values_list("id", "status", "error_code", "fence"):
            if len(begun[id]) > 1:
                problems.append(f"K2 {id} began under fences {begun[id]}")
            if status == "FAILED":
                if code != "WORKER_LOST":
                    problems.append(f"K2 {id} failed with {code}")
                has_begun = fence in begun[id]
                self.figures["failed and begun" if has_begun else "failed before the first line"] += 1
        return problems

    def _poison(self, begun: dict[UUID, list[int]]) -> list[str]:
        problems = []
        rows = Job.objects.using(self.alias).filter(task_name=tasks.kill_worker.name)
        for id, code in rows.values_list("id", "error_code"):
            self.figures[f"poison that ran {len(begun[id])} times"] += 1
            if len(begun[id]) > MAX_CRASHES + UNCOUNTED_RESCUES or code != "POISON":
                problems.append(f"K3 {id} ran {len(begun[id])} times and failed with {code!r}")
        return problems

    def __str__(self) -> str:
        return "\n".join(f"{name}: {count}" for name, count in sorted(self.figures.items()))
