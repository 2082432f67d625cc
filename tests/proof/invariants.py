"""The one checker: what must hold of every job, whatever was killed, frozen, cut off or run twice.

I1 none lost      every committed enqueue has a row, or was pruned from a final state
I2 none stuck     once faults have stopped: none ready or due, none running without a live owner
I3 one final      one write of an ending a job, by allowed moves only
I4 fence          what is stored comes from the last fence granted
I5 effects        at least one for each success; of atomic tasks exactly one, and none for a failure
I6 attempts       every fence granted is closed once; runs are recorded and within their bounds, and only one
                  that is marked as begun counts as lost
I7 order of time  enqueued, claimed, finished
I9 exclusion      a job is taken from its owner only after the owner's lease

I8, that nothing leaks, is about processes and sessions: see ``leaks``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q.lifecycle.states import FINAL, TRANSITIONS, JobStatus
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.storage.orm.clock import DatabaseNow

from . import audit

#: SQLite's triggers know milliseconds only.
TOLERANCE = timedelta(milliseconds=5)
#: How long a claim may take: it goes by the time at which it began, and finds what was enqueued since.
STATEMENT = timedelta(seconds=1)
#: How long a job may stay scheduled after its time, where a worker is idle.
PROMOTION = timedelta(seconds=2)
BEGINNINGS = ("READY", "SCHEDULED", "WAITING")
ATTEMPT = ("job_id", "fence", "outcome", "error_code", "message")
ROW = (
    "id", "task_name", "queue_name", "status", "fence", "attempts", "max_attempts", "crashes", "rescues",
    "worker_id", "result", "error_code", "run_after", "enqueued_at", "started_at", "last_attempted_at",
    "finished_at",
)  # fmt: skip
UNCOUNTED = ("released", "rescued", "snoozed")
LOST = ("crashed", "lost")
#: Attempts that another worker may have ended: a worker itself does so where a child died.
TAKEN = ("lost", "rescued")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the checker has to be told."""

    max_crashes: int = 3
    #: Names of tasks that leave an effect, and of those among them that do so in their own transaction.
    effectful: Collection[str] = ()
    atomic: Collection[str] = ()
    #: Jobs whose enqueue is known to have been committed, or rolled back.
    committed: Collection[UUID] = ()
    rolled_back: Collection[UUID] = ()
    #: Whether faults have stopped and the workers have had the time to deal with them.
    settled: bool = True


@dataclass
class Story:
    """All that is known of one job."""

    id: UUID
    row: dict[str, Any] | None = None
    events: list[audit.Event] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    effects: list[audit.Effect] = field(default_factory=list)

    def is_taken(self, fence: int | None) -> bool:
        """Whether an attempt was ended by others than its own worker."""
        return any(
            attempt["fence"] == fence
            and attempt["outcome"] in TAKEN
            and attempt["error_code"] != "CRASHED"
            # What a worker that breaks off writes itself.
            and not attempt["message"].startswith("The worker of this job ended")
            for attempt in self.attempts
        )

    def __str__(self) -> str:
        lived = " ".join(f"{event.new or 'gone'}/{event.new_fence}" for event in self.events)
        kept = " ".join(f"{attempt['outcome']}/{attempt['fence']}" for attempt in self.attempts)
        name = self.row["task_name"] if self.row else "?"
        return f"job {self.id} {name} [{lived}] attempts [{kept}]"


def violations(alias: str, rules: Rules = Rules()) -> list[str]:
    """A sentence for each way in which the jobs of an audited database break the rules."""
    read = stories(alias)
    holds = Worker.objects.using(alias).filter(lease_expires_at__gt=DatabaseNow())
    alive = set(holds.values_list("id", flat=True))
    found = [f"I1 {job} was committed and is gone" for job in set(rules.committed) - set(read)]
    found += [f"I1 {job} was rolled back and is there" for job in set(rules.rolled_back) & set(read)]
    for story in read.values():
        found += [f"{problem}: {story}" for problem in _problems(story, rules, alive)]
    return found


def stories(alias: str) -> dict[UUID, Story]:
    """Every job of an audited database."""
    read: dict[UUID, Story] = {}

    def of(job: UUID) -> Story:
        return read.setdefault(job, Story(job))

    with snapshot(alias):
        for effect in audit.effects(alias):
            of(effect.job).effects.append(effect)
        for event in audit.events(alias):
            of(event.job).events.append(event)
        for attempt in Attempt.objects.using(alias).order_by("fence").values(*ATTEMPT):
            of(attempt["job_id"]).attempts.append(attempt)
        for row in Job.objects.using(alias).values(*ROW):
            of(row["id"]).row = row
    return read


@contextmanager
def snapshot(alias: str) -> Iterator[None]:
    """One moment of a database, so that workers may go on meanwhile."""
    connection = connections[alias]
    if connection.in_atomic_block:
        yield
        return
    # A frozen worker may hold SQLite's write lock, which a reader does without.
    configured = getattr(connection, "transaction_mode", None)
    connection.transaction_mode = "DEFERRED"
    try:
        with transaction.atomic(using=alias):
            if connection.vendor == "postgresql":
                connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield
    finally:
        connection.transaction_mode = configured


def _problems(story: Story, rules: Rules, alive: Collection[UUID]) -> Iterator[str]:
    yield from _lost(story)
    yield from _moves(story)
    yield from _runs(story, rules)
    if story.row is None:
        return
    yield from _origin(story, story.row)
    yield from _effects(story, story.row, rules)
    yield from _times(story.row)
    if rules.settled:
        yield from _stuck(story.row, alive)


def _lost(story: Story) -> Iterator[str]:
    deletions = [event for event in story.events if event.new is None]
    if any(event.old not in FINAL for event in deletions):
        yield "I1 deleted before its end"
    if story.row is None and not deletions:
        yield "I1 gone without a deletion"


def _moves(story: Story) -> Iterator[str]:
    """By allowed moves only, and into a final state once, or once more for each time it was retried."""
    for event in story.events:
        if event.old is None:
            allowed = event.new in BEGINNINGS
        else:
            allowed = event.new is None or event.new in TRANSITIONS[JobStatus(event.old)]
        if not allowed:
            yield f"I3 {event.old} became {event.new}"
    ends = sum(event.is_ending for event in story.events)
    retries = sum(event.old in FINAL and event.new == "READY" for event in story.events)
    if ends > 1 + retries:
        yield f"I3 ended {ends} times"
    for before, after in pairwise(story.events):
        if (before.new, before.new_fence) != (after.old, after.old_fence):
            yield f"I3 {before.new}/{before.new_fence} was followed by {after.old}/{after.old_fence}"
        if after.at < before.at - TOLERANCE:
            yield f"I7 {after.new} at {after.at} came after {before.new} at {before.at}"


def _runs(story: Story, rules: Rules) -> Iterator[str]:
    """Each claim grants the next fence, each fence is closed once, and by a rescue only when it may be."""
    kinds = {attempt["fence"]: attempt["outcome"] for attempt in story.attempts}
    granted: list[int | None] = []
    closed: list[int | None] = []
    for event in story.events:
        if event.is_claim:
            granted.append(event.new_fence)
        elif event.old is not None and event.new is not None and event.new_fence != event.old_fence:
            yield f"I4 the fence moved from {event.old_fence} to {event.new_fence} without a claim"
        if event.is_leave:
            closed.append(event.old_fence)
            alive = event.lease_end is not None and event.lease_end > event.at + TOLERANCE
            if kinds.get(event.old_fence) == "lost" and event.begun_fence != event.old_fence:
                yield f"I6 lost under fence {event.old_fence}, the mark is that of {event.begun_fence}"
            if story.is_taken(event.old_fence) and alive:
                yield f"I9 taken at {event.at} from an owner whose lease held until {event.lease_end}"
    if granted != list(range(1, len(granted) + 1)):
        yield f"I6 the fences granted are {granted}"
    still_open = 1 if story.events and story.events[-1].new == "RUNNING" else 0
    if closed != granted[: len(granted) - still_open]:
        yield f"I6 the fences granted are {granted}, those closed {closed}"
    if set(kinds) - set(closed):
        yield f"I6 attempts {sorted(kinds)} are recorded, and {closed} were closed"
    given_back = {event.old_fence for event in story.events if event.is_leave and event.new == "READY"}
    if ran := (given_back - set(kinds)) & {effect.fence for effect in story.effects}:
        yield f"I6 given back as never started under fences {sorted(ran)}, which have left effects"
    if story.row is not None:
        yield from _bounds(story, story.row, rules, len(closed))


def _bounds(story: Story, row: dict[str, Any], rules: Rules, closed: int) -> Iterator[str]:
    if row["attempts"] > row["max_attempts"]:
        yield f"I6 {row['attempts']} attempts of {row['max_attempts']}"
    if row["crashes"] > rules.max_crashes:
        yield f"I6 {row['crashes']} crashes of {rules.max_crashes}"
    counted = [one for one in story.attempts if one["outcome"] not in UNCOUNTED]
    if sum(one["outcome"] in LOST for one in counted) != row["crashes"]:
        yield f"I6 {row['crashes']} crashes are counted, others recorded"
    if sum(one["outcome"] == "rescued" for one in story.attempts) != row["rescues"]:
        yield f"I6 {row['rescues']} rescues are counted, others recorded"
    runs = row["attempts"] + row["crashes"] - (row["status"] == "RUNNING")
    # A first run that succeeded is the only one that needs no record.
    if len(counted) != runs and not (runs == 1 and not counted and row["status"] == "SUCCESSFUL"):
        yield f"I6 {runs} runs are counted, {len(counted)} recorded"
    if runs > closed:
        yield f"I6 {runs} runs are counted, {closed} fences closed"


def _origin(story: Story, row: dict[str, Any]) -> Iterator[str]:
    """What the row says of its end was said by the last attempt, under the last fence."""
    claims = [event.new_fence for event in story.events if event.is_claim]
    if claims and claims[-1] != row["fence"]:
        yield f"I4 the last fence granted is {claims[-1]}, the row's is {row['fence']}"
    if row["status"] == "SUCCESSFUL" and row["result"]:
        result = json.loads(row["result"])
        if isinstance(result, dict) and result.get("fence", row["fence"]) != row["fence"]:
            yield f"I4 the result is of fence {result['fence']}, the row's is {row['fence']}"
    if row["status"] == "FAILED":
        last = story.attempts[-1] if story.attempts else None
        if last is None or (last["fence"], last["error_code"]) != (row["fence"], row["error_code"]):
            yield f"I4 it failed by {row['error_code']}, the last attempt by {last and last['error_code']}"


def _effects(story: Story, row: dict[str, Any], rules: Rules) -> Iterator[str]:
    fences = [effect.fence for effect in story.effects]
    succeeded = row["status"] == "SUCCESSFUL"
    if row["task_name"] in rules.atomic:
        expected = [row["fence"]] if succeeded else []
        if fences != expected:
            yield f"I5 its effects are those of fences {fences}, expected {expected}"
    elif row["task_name"] in rules.effectful and succeeded and row["fence"] not in fences:
        yield f"I5 it succeeded under fence {row['fence']}, its effects are those of {fences}"


def _times(row: dict[str, Any]) -> Iterator[str]:
    named = [(name, row[name]) for name in ("enqueued_at", "started_at", "last_attempted_at", "finished_at")]
    for (before, earlier), (after, later) in pairwise([pair for pair in named if pair[1] is not None]):
        if later < earlier - (STATEMENT if before == "enqueued_at" else TOLERANCE):
            yield f"I7 {after} {later} is before {before} {earlier}"


def _stuck(row: dict[str, Any], alive: Collection[UUID]) -> Iterator[str]:
    match row["status"]:
        case "READY":
            yield "I2 still ready"
        case "SCHEDULED" if row["run_after"] is None or row["run_after"] < timezone.now() - PROMOTION:
            yield f"I2 still scheduled, due at {row['run_after']}"
        case "RUNNING" if row["worker_id"] not in alive:
            yield "I2 running without a live owner"
