"""Plays a draw with real workers, and compares what has become of its jobs with what was drawn.

The checker of ``tests.proof`` has the first word. Beside it:

V1 exclusion   no job runs in two places, save what has outlived its timeout or its worker's lease
V2 counting    an attempt or a crash is counted only for a run that has begun
V3 in time     all jobs end, within a bound that follows from the draw, and the workers leave
V4 the truth   what a run has done is what the row says of it, and what it has printed is there
V5 innocence   nobody but who was told to ends a process, a worker or a job of others
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psutil
from django.apps import apps
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q import actions
from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Attempt, Job, Queue, Worker

from ..faults.nursery import Fork, Nursery
from ..proof import invariants
from ..proof.audit import audited
from ..proof.fleet import children_of
from ..proof.leaks import sessions
from .draws import CRASHES, MAX_CRASHES, Draw, Event, Kind
from .tasks import BODIES

LEASE, GRACE = 2.0, 0.5
#: What processes need in their environment.
OPTIONS = {"LEASE": LEASE, "GRACE": GRACE, "TIMEOUT": 30.0, "MAX_CRASHES": MAX_CRASHES}
#: Coroutines and threads that a worker runs at a time.
THREADS, COROUTINES = 3, 5
#: Jobs that may have been handed over when their process is killed, without a trace of whether they began.
PLACES = {"process": 1, "atomic": 1, "thread": THREADS, "async": COROUTINES}
SHUTDOWN = 2.0


def environment(env: dict[str, str]) -> dict[str, str]:
    """Of the processes that play draws."""
    return env | {"EXTRA_APPS": '["tests.faults", "tests.variety"]', "TASKS_OPTIONS": json.dumps(OPTIONS)}


class Begun(NamedTuple):
    """A run of a job, as its own code has told of it."""

    job: UUID
    fence: int
    number: int
    pid: int
    begin: float
    how: str
    #: None where nothing is known of its end.
    end: float | None


@dataclass
class Play:
    """One draw, on one database."""

    alias: str
    forks: Nursery
    folder: Path
    draw: Draw
    problems: list[str] = field(default_factory=list)
    workers: list[Fork] = field(default_factory=list)
    started: list[Fork] = field(default_factory=list)
    #: Those that were told to end, or ended.
    doomed: list[Fork] = field(default_factory=list)
    kinds: dict[UUID, Kind] = field(default_factory=dict)
    frozen: list[tuple[float, psutil.Process]] = field(default_factory=list)
    meddled: set[UUID] = field(default_factory=set)
    retried: set[UUID] = field(default_factory=set)
    resume_at: float | None = None
    kills: int = 0

    def run(self) -> list[str]:
        """Answers a sentence for each rule that was broken."""
        (self.folder / "runs").mkdir(parents=True)
        (self.folder / "journal").touch()
        empty(self.alias)
        with audited(self.alias):
            try:
                self._live()
                self._leave()
                self._judge()
            finally:
                for worker in self.started:
                    worker.thaw()
                    worker.kill()
        return self.problems

    # What happens

    def _live(self) -> None:
        if self.draw.early:
            self._replace()
        self._enqueue()
        begun = moved = time.monotonic()
        self._replace()
        events = sorted(self.draw.events, key=lambda event: event.at)
        seen, looked, compared = "", 0.0, begun
        while True:
            now = time.monotonic()
            while events and now - begun >= events[0].at:
                self._happen(events.pop(0))
            self._thaw(now)
            self._replace()
            if now - looked >= 0.1:
                looked = now
                left = Job.objects.using(self.alias).exclude(status__in=FINAL).count()
                if not left and not events and self.resume_at is None:
                    return None
                trace = f"{left} {(self.folder / 'journal').stat().st_size}"
                if trace != seen:
                    seen, moved = trace, now
                if (late := now - moved) > self.draw.quiet(LEASE):
                    return self._is_late(f"nothing has happened for {late:.1f} s", left)
                if (late := now - begun) > self.draw.bound(LEASE):
                    return self._is_late(f"{late:.1f} s are over", left)
            if now - compared >= 1.0:
                compared = now
                if any(self._are_together(runs) for runs in read_journal(self.folder / "journal").values()):
                    return None  # the judge will say it; it might go on for ever
            time.sleep(0.02)

    def _are_together(self, runs: list[Begun]) -> bool:
        """Whether a job runs in two places now, although nothing has been done to anybody."""
        if self.draw.is_harmed or any(kind.overruns for kind in self.draw.kinds):
            return False
        alive = [one for one in runs if one.end is None and psutil.pid_exists(one.pid)]
        if len(alive) > 1:
            self.problems.append(f"V1 a job runs in {len(alive)} places at once: {alive}")
        return len(alive) > 1

    def _is_late(self, why: str, left: int) -> None:
        states = Job.objects.using(self.alias).exclude(status__in=FINAL).values_list("status", flat=True)
        counts = {status: list(states).count(status) for status in set(states)}
        self.problems.append(f"V3 {why}, and {left} of {self.draw.jobs} jobs have not ended: {counts}")

    def _enqueue(self) -> None:
        for kind in self.draw.kinds:
            now = timezone.now()
            task = BODIES[kind.body].using(
                max_attempts=kind.max_attempts, backoff=kind.backoff, on_lost=kind.on_lost,
                priority=kind.priority,
                run_after=None if kind.run_after is None else now + timedelta(seconds=kind.run_after),
                expires_at=None if kind.expires is None else now + timedelta(seconds=kind.expires),
                **({} if kind.timeout is None else {"timeout": kind.timeout}),
            )  # fmt: skip
            steps = [vars(step) | {"deeds": list(step.deeds)} for step in kind.steps]
            call = (str(self.folder), steps, "p" * kind.pad)
            with transaction.atomic(using=self.alias):
                for result in task.enqueue_many([call] * kind.count):
                    self.kinds[UUID(result.id)] = kind

    def _replace(self) -> None:
        """There are as many workers as were drawn. One that has left unasked is a fault."""
        for worker in [worker for worker in self.workers if not worker.is_alive]:
            self.workers.remove(worker)
            if worker not in self.doomed:
                self.problems.append(f"V5 a worker has ended unasked: {worker.output[-600:]}")
        while len(self.workers) < self.draw.workers and len(self.started) < 20:
            per_child = self.draw.per_child
            worker = self.forks.fork(
                "tests.variety.actors:worker", self._names, self.draw.buffered,
                "--processes", str(self.draw.processes), "--threads", str(THREADS),
                "--async-concurrency", str(COROUTINES), "--shutdown-timeout", str(SHUTDOWN),
                *([] if per_child is None else ["--max-jobs-per-child", str(per_child)]),
            )  # fmt: skip
            self.workers.append(worker)
            self.started.append(worker)

    @property
    def _names(self) -> list[str]:
        """Of the tasks that the workers know: those of the draw, and perhaps one that keeps them apart."""
        bodies = {kind.body for kind in self.draw.kinds} | ({"async"} if self.draw.mixed else set())
        return sorted(BODIES[body].name for body in bodies)

    def _happen(self, event: Event) -> None:
        waiting = Job.objects.using(self.alias).exclude(status__in=FINAL).order_by("id")
        match event.what:
            case "cancel":
                ids = list(waiting.values_list("id", flat=True))[event.which % 3 :: 3]
                self.meddled.update(ids)
                actions.cancel(ids, using=self.alias)
            case "retry":
                ended = Job.objects.using(self.alias).filter(status="FAILED").order_by("id")
                ids = list(ended.values_list("id", flat=True)[: event.which % 5])
                self.meddled.update(ids)
                self.retried.update(ids)
                actions.retry(ids, using=self.alias)
            case "pause":
                actions.pause("default", using=self.alias)
                self.resume_at = time.monotonic() + event.which / 100
            case _:
                if self.workers:
                    self._harm(event, self.workers[event.which % len(self.workers)])

    def _harm(self, event: Event, worker: Fork) -> None:
        tree = worker.tree()
        servers = children_of(tree[0]) if tree else []
        children = [child for server in servers for child in children_of(server)]
        child = children[event.which % len(children)] if children else None
        with suppress(psutil.NoSuchProcess):
            match event.what:
                case "kill worker":
                    self._doom(worker, signal.SIGKILL)
                case "end worker":
                    self._doom(worker, signal.SIGTERM)
                case "interrupt worker" if Worker.objects.using(self.alias).filter(pid=worker.pid).exists():
                    self._doom(worker, signal.SIGINT)
                case "kill server" if servers:
                    self.doomed.append(worker)  # by design: another one takes its place
                    servers[0].kill()
                case "kill child" if child is not None:
                    child.kill()
                case "end child" if child is not None:
                    child.terminate()
                case "freeze child" if child is not None:
                    child.suspend()
                    self.frozen.append((time.monotonic() + 0.3 + event.which / 100, child))
        self.kills += 1

    def _doom(self, worker: Fork, number: int) -> None:
        self.doomed.append(worker)
        self.workers.remove(worker)
        worker.send(number)

    def _thaw(self, now: float) -> None:
        for due in [due for due in self.frozen if due[0] <= now]:
            self.frozen.remove(due)
            with suppress(psutil.NoSuchProcess):
                due[1].resume()
        if self.resume_at is not None and now >= self.resume_at:
            actions.resume("default", using=self.alias)
            self.resume_at = None

    def _leave(self) -> None:
        """All workers are asked to end, and nothing of them stays."""
        self._thaw(float("inf"))
        trees = [process for worker in self.started for process in worker.tree()]
        asked = time.monotonic()
        for worker in self.workers:
            self.doomed.append(worker)
            worker.send(signal.SIGTERM)
        patience = SHUTDOWN + GRACE + 10.0
        while any(worker.is_alive for worker in self.started):
            if time.monotonic() - asked > patience:
                self.problems.append(f"V3 workers have not left after {patience} s")
                return
            time.sleep(0.02)
        _, alive = psutil.wait_procs(trees, timeout=5)
        if alive:
            self.problems.append(f"V3 of workers that have left there are still {alive}")
        until = time.monotonic() + 5
        while count := sessions(self.alias):
            if time.monotonic() > until:
                self.problems.append(f"V3 of workers that have left there are still {count} sessions")
                return
            time.sleep(0.02)

    # What is to be said of it

    def _judge(self) -> None:
        output = "".join(worker.output for worker in self.started)
        rules = invariants.Rules(
            max_crashes=MAX_CRASHES,
            committed=list(self.kinds),
            settled=not self.problems,
        )
        self.problems += [
            text
            for text in invariants.violations(self.alias, rules)
            # Whoever is retried by a person is counted anew.
            if not (text.startswith("I6") and any(str(job) in text for job in self.retried))
        ]
        stories = invariants.stories(self.alias)
        runs = read_journal(self.folder / "journal")
        self.lost_lease = "has lost its lease" in output
        # What was marked as one that begins counts, though its worker was gone before its first line.
        ended = self.kills + output.count("has lost its lease")
        uncertain = ended * sum(PLACES.values()) * self.draw.processes
        # A run that ends its process may do so while a sibling has begun and not yet come to its own code.
        uncertain += sum(
            PLACES[kind.body] - 1
            for job, kind in self.kinds.items()
            for one in runs.get(job, [])
            if one.how in ("_exit", "kill")
        )
        for job, story in stories.items():
            kind = self.kinds.get(job)
            if kind is None or story.row is None:
                self.problems.append(f"V4 nobody has enqueued {story}")
                continue
            begun = runs.get(job, [])
            told = {attempt["fence"]: attempt for attempt in story.attempts}
            self.problems += [f"{text}: {story}" for text in self._overlaps(kind, begun, told)]
            counted = story.row["attempts"] + story.row["crashes"] - (story.row["status"] == "RUNNING")
            if (extra := counted - len(begun)) > 0 and job not in self.meddled:
                uncertain -= extra
                if uncertain < 0:
                    self.problems.append(f"V2 {counted} runs are counted, {len(begun)} have begun: {story}")
            self.problems += [f"{text}: {story}" for text in self._lies(kind, job, story, begun, told)]
            self.problems += [f"{text}: {story}" for text in self._unsaid(begun, story, told, output)]
        stopped = ("WorkerStopping",) if self.draw.stops_workers else ()
        strange = strange_tracebacks(output, (*HARMLESS, *stopped), may_be_cut=self.draw.leaves_copies)
        self.problems += [f"V5 {text}" for text in strange]

    def _overlaps(self, kind: Kind, begun: list[Begun], told: dict[int, Any]) -> Iterator[str]:
        for number, first in enumerate(begun):
            outcome = told.get(first.fence, {}).get("outcome")
            shared = kind.body in ("thread", "async")
            excused = self.lost_lease or outcome in ("lost", "rescued")
            excused |= shared and outcome in ("timeout", "cancelled")
            for second in begun[number + 1 :]:
                if first.end is not None and second.begin < first.end and not excused:
                    yield (
                        f"V1 runs {first.fence} ({first.pid}) and {second.fence} ({second.pid}) overlap by "
                        f"{first.end - second.begin:.3f} s"
                    )

    def _lies(
        self, kind: Kind, job: UUID, story: invariants.Story, begun: list[Begun], told: dict[int, Any]
    ) -> Iterator[str]:
        """Of what is said of a run, and what it has done."""
        row = story.row
        assert row is not None
        disturbed = self.draw.is_harmed or self.lost_lease or job in self.meddled
        shared = [other for other in self.draw.kinds if other.body == kind.body in ("thread", "async")]
        unsafe = any(other.crashes or other.overruns for other in shared)
        for one in begun:
            outcome = told.get(one.fence, {}).get("outcome")
            code = told.get(one.fence, {}).get("error_code")
            if outcome is None and row["status"] == "SUCCESSFUL" and row["fence"] == one.fence:
                outcome = "successful"
            expected = EXPECTED[one.how]
            if kind.timeout is not None:
                expected = (*expected, ("timeout", None))
            if disturbed or unsafe:
                expected = (
                    *expected,
                    ("crashed", None),
                    ("lost", None),
                    ("rescued", None),
                    ("released", None),
                    ("failed", "WORKER_STOPPED"),
                    ("cancelled", None),
                )
            if disturbed and outcome is None:
                continue  # given back before anybody knew that it had begun
            if not any(outcome == kind_ and code_ in (None, code) for kind_, code_ in expected):
                of = Attempt.objects.using(self.alias).filter(job_id=job, fence=one.fence)
                why = of.values_list("exception_class", "message").first()
                yield f"V4 run {one.fence} did {one.how!r}, {outcome} {code or ''} {why or ''} is on record"
        if row["status"] == "SUCCESSFUL":
            result = json.loads(row["result"])
            last, *others = [one for one in begun if one.fence == row["fence"]] or [None]
            if others:
                yield f"V1 run {last.fence} began in several processes: {[last, *others]}"
            elif last is None:
                yield f"V4 it succeeded without a run under fence {row['fence']}"
            elif (result.get("job"), result.get("fence"), result.get("pid")) != (
                str(job),
                last.fence,
                last.pid,
            ):
                yield f"V4 it returned {str(result)[:200]}, its run was {last}"
        elif row["status"] == "EXPIRED" and kind.expires is None:
            yield "V4 it has expired, and could not"
        elif row["status"] == "CANCELLED" and job not in self.meddled and begun[-1].how != "cancel":
            yield "V4 it is cancelled, and nobody has cancelled it"

    def _unsaid(
        self, begun: list[Begun], story: invariants.Story, told: dict[int, Any], output: str
    ) -> Iterator[str]:
        """What an ended run has printed has to be there when the workers have left."""
        killed = any(kind.crashes or kind.overruns for kind in self.draw.kinds)
        if self.draw.spoils_streams or (self.draw.buffered and (self.draw.is_harmed or killed)):
            return  # what is in the buffers of a process goes with it
        kind = self.kinds[story.id]
        for one in begun:
            deeds = kind.steps[min(one.number, len(kind.steps)) - 1].deeds
            outcome = told.get(one.fence, {}).get("outcome", "successful")
            if one.end is None or one.how in CRASHES or outcome in UNFINISHED:
                continue
            if any(deed.startswith("print") for deed in deeds) and f"<{one.job}:{one.fence}>" not in output:
                yield f"V4 what run {one.fence} has printed is lost"


#: By what a run does: outcome and error code of its attempt. A first run that succeeds is on no record.
#: Outcomes on record of runs that did not come to their end, or of which the end was not read.
UNFINISHED = ("crashed", "lost", "rescued", "released", "timeout")
EXPECTED: dict[str, tuple[tuple[str, str | None], ...]] = {
    "return": (("successful", None),),
    "raise": (("failed", "UNHANDLED_EXCEPTION"),),
    "fail": (("failed", "WANTED"),),
    "snooze": (("snoozed", None),),
    "exit": (("failed", "UNHANDLED_EXCEPTION"),),
    "cancel": (("cancelled", None),),
    "unstorable": (("failed", "RESULT_UNSTORABLE"),),
    "_exit": (("crashed", None),),
    "kill": (("crashed", None),),
    "timeout": (("timeout", None),),
    "stubborn": (("timeout", None),),
}


def read_journal(path: Path) -> dict[UUID, list[Begun]]:
    """The runs of each job, in the order in which they began. Copies of a run are none."""
    found: dict[tuple[UUID, int, int], Begun] = {}
    for line in path.read_text().splitlines():
        what, job, fence, number, pid, at, how = json.loads(line)
        key = (UUID(job), fence, pid)
        if what == "begin":
            found[key] = Begun(UUID(job), fence, number, pid, at, how, None)
        elif key in found:
            found[key] = found[key]._replace(end=at)
    runs: dict[UUID, list[Begun]] = defaultdict(list)
    for one in sorted(found.values(), key=lambda one: one.begin):
        runs[one.job].append(one)
    return runs


def strange_tracebacks(output: str, harmless: Collection[str], *, may_be_cut: bool) -> Iterator[str]:
    """Those that no task has asked for, by their last lines: others may have written in between.

    With ``may_be_cut`` one may have no last line: who wrote it was ended meanwhile.
    """
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line == "Traceback (most recent call last):":
            error = next((text for text in lines[number + 1 :] if ERROR.match(text)), "")
            if not any(word in error for word in harmless) and (error or not may_be_cut):
                yield f"an unwanted traceback: {error} {lines[number : number + 40]}"


#: The line of a traceback that names the exception.
ERROR = re.compile(
    r"[A-Za-z_][A-Za-z0-9_.]*(Error|Exception|Wanted|Failure|Failed|Timeout|Cancelled|Exit|Interrupt|Stopping)\b"
)
#: What draws ask for: errors of tasks, and the end of a worker whose fork server was killed.
HARMLESS = (
    "Wanted",
    "TaskFailure",
    "JobFailed",
    "TaskTimeout",
    "TaskCancelled",
    "SystemExit",
    "FileNotFoundError",
    "Unstorable",
    "starts children is gone",
)


def empty(alias: str) -> None:
    """Forget all earlier draws."""
    models = [
        model for model in apps.get_app_config("django_tasks_q").get_models() if model not in (Job, Queue)
    ]
    connection = connections[alias]
    with (
        transaction.atomic(using=alias),
        connection.constraint_checks_disabled(),
        connection.cursor() as cursor,
    ):
        for model in (Attempt, *models, Queue, Job):
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")
