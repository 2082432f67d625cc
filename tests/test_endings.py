"""What an ending makes of its job: one table of cases, for each of the implementations that write endings."""

import itertools
import uuid
from datetime import timedelta
from typing import NamedTuple

import pytest
from django.utils import timezone

from django_tasks_q.exceptions import NO_REASON, AttemptCrashed, WorkerLost
from django_tasks_q.lifecycle.outcome import AttemptOutcome, Failure, Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Attempt, Job
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import storage_for

WORKER = uuid.uuid4()
FENCE = 5
#: A point in time of which everything that a case starts with was long ago.
BEFORE = timezone.now() - timedelta(days=2)
FAILURE = Failure("CODE", "builtins.ValueError", 'what "went" \\ wrong', "a {trace},\nback", -9, '{"data":1}')
STOPPED = Failure("STOPPED", "x.TaskCancelled", "m" * 300, "")
SILENT = Failure("STOPPED", "x.TaskCancelled", NO_REASON, "")
EMPTY = Failure("STOPPED", "x.TaskCancelled", "", "")


class Ending(NamedTuple):
    """An outcome, and what it does to a job that its attempt still owns, if nobody wants that cancelled."""

    outcome: Outcome
    status: str
    #: Seconds from now of the job's new ``run_after``; None where it keeps its own.
    wait: float | None = None
    result: str | None = None
    #: The job's code; None where it keeps its own.
    code: str | None = ""
    #: What is added to attempts, crashes and rescues.
    attempts: int = 0
    crashes: int = 0
    rescues: int = 0
    #: The outcome of the row of the attempt, and whether there is one only if it is not the first.
    recorded: str | None = None
    only_later: bool = False
    reason: str = ""


def endings():
    """One of each kind of outcome, by name."""
    id = uuid.UUID(int=0)
    crashed = AttemptCrashed("gone")
    lost = WorkerLost("gone")
    yield "returned", Ending(
        Outcome.successful(id, FENCE, '{"r":"\\\\ü"}', 0.25), "SUCCESSFUL", result='{"r":"\\\\ü"}',
        recorded="successful", only_later=True,
    )  # fmt: skip
    yield "returned null", Ending(
        Outcome.successful(id, FENCE, "null", 0.25), "SUCCESSFUL", result="null",
        recorded="successful", only_later=True,
    )  # fmt: skip
    yield "returned, result not kept", Ending(
        Outcome.successful(id, FENCE, "null", 0.25)._replace(result=None), "SUCCESSFUL",
        recorded="successful", only_later=True,
    )  # fmt: skip
    for kind in (AttemptOutcome.FAILED, AttemptOutcome.TIMEOUT):
        for name, after, status, wait in (
            ("for good", None, "FAILED", None), ("again now", 0.0, "READY", None),
            ("again later", 900.0, "SCHEDULED", 900.0),
        ):  # fmt: skip
            outcome = Outcome.failed(id, FENCE, FAILURE, after, 0.25, kind)
            yield f"{kind.value} {name}", Ending(outcome, status, wait, code="CODE", recorded=kind.value)
    for name, error, kind in (("crashed", crashed, "crashed"), ("lost", lost, "lost")):
        for again, poison in itertools.product((False, True), (False, True)):
            outcome = Outcome.crashed(id, FENCE, error, again, poison, 0.25, -9)
            code = "POISON" if poison else "WORKER_LOST" if kind == "lost" else "CRASHED"
            status = "READY" if again and not poison else "FAILED"
            yield (
                f"{name} {'poison ' if poison else ''}{'again' if again else 'for good'}",
                Ending(outcome, status, code=code, attempts=-1, crashes=1, recorded=kind),
            )
    uncounted = {"code": None, "attempts": -1}
    yield (
        "rescued",
        Ending(Outcome.rescued(id, FENCE, FAILURE), "READY", rescues=1, recorded="rescued", **uncounted),
    )
    yield "released unstarted", Ending(Outcome.released(id, FENCE), "READY", **uncounted)
    yield "released", Ending(Outcome.released(id, FENCE, 0.25), "READY", recorded="released", **uncounted)
    yield "released in conflict", Ending(
        Outcome.released(id, FENCE, 0.25, FAILURE).again_in(900.0), "SCHEDULED", 900.0,
        recorded="released", **uncounted,
    )  # fmt: skip
    yield (
        "snoozed",
        Ending(Outcome.snoozed(id, FENCE, 900.0, 0.25), "SCHEDULED", 900.0, recorded="snoozed", **uncounted),
    )
    yield (
        "snoozed for no time",
        Ending(Outcome.snoozed(id, FENCE, 0.0, 0.25), "READY", recorded="snoozed", **uncounted),
    )
    for name, failure, reason in (
        ("with a long reason", STOPPED, "m" * 255), ("without a reason", SILENT, ""), ("empty", EMPTY, ""),
    ):  # fmt: skip
        outcome = Outcome.cancelled(id, FENCE, failure, 0.25)
        ending = Ending(outcome, "CANCELLED", code="STOPPED", recorded="cancelled", reason=reason)
        yield f"cancelled {name}", ending


ENDINGS = dict(endings())


class Start(NamedTuple):
    """What the job was before."""

    status: str
    owned: bool
    cancel_requested: bool
    attempts: int
    crashes: int
    #: Whether it was rescued before, and its attempt is marked as one that begins.
    marked: bool
    old_code: str
    scheduled_before: bool

    def job(self):
        return Job(
            id=uuid7(), status=self.status, fence=FENCE if self.owned else FENCE + 1, worker_id=WORKER,
            attempts=self.attempts, crashes=self.crashes, rescues=2 * self.marked,
            begun_fence=FENCE if self.marked else None, error_code=self.old_code,
            cancel_requested_at=BEFORE if self.cancel_requested else None,
            cancel_reason="theirs" if self.cancel_requested else "",
            run_after=BEFORE if self.scheduled_before else None, duration=7.5 if self.old_code else None,
            task_name="a", queue_name="q", backend="default", arguments="[[],{}]", enqueued_at=BEFORE,
            started_at=BEFORE, last_attempted_at=BEFORE,
        )  # fmt: skip


STARTS = [
    Start(*values)
    for values in itertools.product(
        ("RUNNING",), (True, False), (False, True), (1, 3), (0, 2), (False, True), ("", "OLD"), (False, True)
    )
] + [
    Start(status, True, False, 1, 0, False, "", False) for status in JobStatus if status != JobStatus.RUNNING
]

#: Columns that an ending may change.
COLUMNS = (
    "status", "fence", "worker_id", "attempts", "crashes", "rescues", "begun_fence", "result", "error_code",
    "duration", "run_after", "finished_at", "cancel_requested_at", "cancel_reason", "started_at",
    "last_attempted_at", "dismissed_at",
)  # fmt: skip


def columns(job):
    """The columns, with a time that is not that of the start as seconds from now, to the next hundred."""
    found = {name: getattr(job, name) for name in COLUMNS}
    for name, value in found.items():
        if name.endswith(("_at", "_after")) and value is not None and value != BEFORE:
            found[name] = round((value - timezone.now()).total_seconds(), -2)
    return found


def expected(start, job, ending):
    """The columns afterwards, by the table."""
    found = columns(job)
    if start.status != "RUNNING" or not start.owned:
        return found
    outcome = ending.outcome
    found["attempts"] += ending.attempts
    found["crashes"] += ending.crashes
    found["rescues"] += ending.rescues
    if ending.code is not None:
        found |= {"error_code": ending.code, "duration": 0.25}
    if start.cancel_requested and not outcome.is_final:
        # The job would run again, which nobody wants.
        return found | {"status": "CANCELLED", "error_code": "CANCELLED", "finished_at": 0.0}
    if outcome.is_final:
        found |= {"finished_at": 0.0, "result": ending.result}
    if ending.wait is not None:
        found["run_after"] = ending.wait
    if not start.cancel_requested and ending.reason:
        found["cancel_reason"] = ending.reason
    return found | {"status": ending.status}


def expected_attempt(start, job, ending):
    """The row of the attempt, or None."""
    number = start.attempts + start.crashes
    if start.status != "RUNNING" or not start.owned or ending.recorded is None:
        return None
    if ending.only_later and number == 1:
        return None
    failure = ending.outcome.failure
    return (
        job.id, number, FENCE, WORKER, ending.recorded, BEFORE, ending.outcome.duration,
        *((failure.code, failure.exception_class, failure.exit_status, failure.message, failure.data,
           failure.traceback) if failure else ("", "", None, "", None, "")),
    )  # fmt: skip


ATTEMPT = (
    "job_id", "number", "fence", "worker_id", "outcome", "started_at", "duration", "error_code",
    "exception_class", "exit_status", "message", "data", "traceback",
)  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_an_ending_does_to_a_job_what_the_table_says(storage_alias, name):
    ending, storage = ENDINGS[name], storage_for(storage_alias)
    cases = [(start, start.job()) for start in STARTS]
    jobs = Job.objects.using(storage_alias)
    jobs.bulk_create(job for _, job in cases)
    written = storage.jobs.finish([ending.outcome._replace(job_id=job.id) for _, job in cases])
    after, rows = jobs.in_bulk(), Attempt.objects.using(storage_alias)
    found = {row[0]: row for row in rows.values_list(*ATTEMPT)}
    for start, job in cases:
        wanted = expected(start, job, ending)
        assert columns(after[job.id]) == wanted, start
        assert found.pop(job.id, None) == expected_attempt(start, job, ending), start
        if start.status == "RUNNING" and start.owned:
            assert written.pop(job.id) == wanted["status"], start
    assert (found, written) == ({}, {})


@pytest.mark.once
def test_the_table_has_every_outcome_and_state_of_an_ending():
    kinds = {ending.outcome.kind for ending in ENDINGS.values()}
    assert kinds == set(AttemptOutcome)
    assert all(ending.status == ending.outcome.status for ending in ENDINGS.values())
