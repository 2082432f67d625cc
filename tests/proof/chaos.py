"""Everything at once: callers that commit or roll back, tasks that misbehave, and a fleet that is harmed.

Then the faults stop, what is left is done, and the checker has the word.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from uuid import UUID

from django.db import connections

from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Attempt, Job

from ..faults import mix
from ..faults.nursery import nursery
from ..project import wait_for
from .audit import audited
from .fleet import Fleet
from .invariants import Rules, violations
from .leaks import sessions

LEASE = 2.0
#: Invariants whose violation shows that a missing guard did harm, and not only that something was odd.
EFFECTIVE = ("I3", "I4", "I5")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is made of."""

    seconds: float
    seed: int
    mix: str = "mixed"
    faults: str = "mixed"
    #: Mean seconds between two faults.
    pause: float = 0.4
    #: The number of faults after which they stop, however early that is.
    faults_at_most: int = 10_000_000
    workers: int = 3
    #: How many of the workers are left in peace.
    spared: int = 0
    callers: int = 2
    #: Jobs that all callers together enqueue a second, and in all.
    per_second: float = 60.0
    limit: int = 10_000_000
    lease: float = LEASE
    max_crashes: int = 3
    #: Protections that the workers are without, to prove that this matters.
    without: tuple[str, ...] = ()
    #: Seconds that the fleet gets to finish what is there when the faults have stopped.
    drain: float = 60.0


@dataclass
class Report:
    """What a run has come to."""

    plan: Plan
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    fenced: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"seed {self.plan.seed}, {self.seconds:.1f} s",
            f"jobs: {sum(self.statuses.values())} {_listed(self.statuses)}",
            f"attempts on record: {_listed(self.outcomes)}",
            f"faults: {sum(self.faults.values())} {_listed(self.faults)}",
            f"leases given up: {self.fenced}, writes refused: {self.refused}",
            f"violations: {len(self.problems)}",
            *self.problems[:20],
        ]
        return "\n".join(lines)


class Chaos:
    """One run, on one database whose tables are empty."""

    def __init__(
        self,
        alias: str,
        env: dict[str, str],
        folder: Path,
        plan: Plan,
        more: Callable[[], list[str]] = lambda: [],
    ) -> None:
        """``more`` is asked for problems at the end, beside the checker, while the audit is there."""
        self.alias = alias
        self.more = more
        self.env = env
        self.folder = folder
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.report = Report(plan)

    def run(self, watch: Callable[[Fleet], None] | None = None, *, until_first: bool = False) -> Report:
        """``watch`` is called about once a second. ``until_first`` ends the run with the first violation."""
        begun = time.monotonic()
        with audited(self.alias), self._unguarded(), nursery(self._env, self.folder) as forks:
            plan = self.plan
            fleet = Fleet(self.alias, forks, self.chance, plan.lease, plan.workers, plan.faults, plan.spared)
            callers = [self._caller(forks, number) for number in range(self.plan.callers)]
            self._rage(fleet, callers, watch, until_first)
            for caller in callers:
                caller.kill()
                assert "Traceback" not in caller.output, caller.output
            if not until_first:
                self._settle(fleet)
                self.report.problems = self._violations(settled=True) + self.more() + self.report.problems
            self._count(fleet)
        self.report.seconds = time.monotonic() - begun
        return self.report

    @property
    def _env(self) -> dict[str, str]:
        options = {
            "LEASE": self.plan.lease, "GRACE": 0.5, "TIMEOUT": 5.0, "MAX_CRASHES": self.plan.max_crashes,
        }  # fmt: skip
        return self.env | {
            "BEGIN_NOTES": str(self.folder / "begun"),
            "EXTRA_APPS": '["tests.faults"]',
            "TASKS_OPTIONS": json.dumps(options),
            "WITHOUT": ",".join(self.plan.without),
        }

    def _caller(self, forks, number):
        plan = self.plan
        return forks.fork(
            "tests.faults.callers:keep_enqueuing",
            str(self.folder / "journal"), plan.mix, plan.seed + number, plan.per_second / plan.callers,
            plan.limit // plan.callers,
        )  # fmt: skip

    def _rage(self, fleet, callers, watch, until_first):
        now = time.monotonic()
        ends, harm, look = now + self.plan.seconds, now + self.plan.pause, now + 1.0
        while now < ends and not self.report.problems and fleet.counts.total() < self.plan.faults_at_most:
            fleet.replace_dead()
            fleet.thaw()
            if now >= harm:
                fleet.do_harm()
                harm = now + self.chance.uniform(0, 2 * self.plan.pause)
            if now >= look:
                look = now + 1.0
                if watch is not None:
                    watch(fleet)
                if until_first:
                    found = self._violations(settled=False)
                    self.report.problems = [text for text in found if text.startswith(EFFECTIVE)]
                if not any(caller.is_alive for caller in callers) and self._is_done():
                    break
            time.sleep(0.05)
            now = time.monotonic()

    def _settle(self, fleet):
        """No more faults: all jobs end, all workers leave, and nothing of them stays."""
        fleet.thaw(everything=True)

        def drained():
            fleet.replace_dead()
            return self._is_done()

        def left():
            fleet.stop()
            return not fleet.alive and not sessions(self.alias)

        for what, condition, patience in (("end", drained, self.plan.drain), ("leave", left, 30)):
            try:
                wait_for(condition, patience)
            except AssertionError:
                alive = [worker.output[-500:] for worker in fleet.alive]
                self.report.problems.append(
                    f"I8 they do not {what}: {sessions(self.alias)} sessions, {alive}"
                )

    def _is_done(self) -> bool:
        return not Job.objects.using(self.alias).exclude(status__in=FINAL).exists()

    def _violations(self, *, settled: bool) -> list[str]:
        known = {"committed": [], "rolled_back": []}
        journal = self.folder / "journal"
        for line in journal.read_text().splitlines() if journal.exists() else ():
            kind, _, job = line.partition(" ")
            if len(job) == 36:  # else its writer was killed over it
                known[kind].append(UUID(job))
        return violations(
            self.alias,
            Rules(
                max_crashes=self.plan.max_crashes,
                effectful=mix.effectful(self.plan.mix),
                atomic=mix.atomic(self.plan.mix),
                settled=settled,
                # While callers go on, the journal may know of more than a snapshot.
                committed=known["committed"] if settled else (),
                rolled_back=known["rolled_back"],
            ),
        )

    def _count(self, fleet):
        self.report.faults = fleet.counts
        self.report.statuses.update(Job.objects.using(self.alias).values_list("status", flat=True))
        self.report.outcomes.update(Attempt.objects.using(self.alias).values_list("outcome", flat=True))
        self.report.refused = fleet.said("the job was taken from this worker")
        self.report.fenced = fleet.said("has lost its lease")

    @contextmanager
    def _unguarded(self) -> Iterator[None]:
        """A mutant also does without the constraint that stands behind the fence."""
        if not self.plan.without:
            yield
            return
        (constraint,) = Attempt._meta.constraints
        connection = connections[self.alias]
        # SQLite makes the table anew, by what the model says.
        with mock.patch.object(Attempt._meta, "constraints", []), connection.schema_editor() as editor:
            editor.remove_constraint(Attempt, constraint)
        try:
            yield
        finally:
            Attempt.objects.using(self.alias).all().delete()
            with connection.schema_editor() as editor:
                editor.add_constraint(Attempt, constraint)


def random_seed() -> int:
    return int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
