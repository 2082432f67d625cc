"""The storage beside a model of it, through whatever can happen to workers, by a clock that tests move."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest import mock

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_tasks_q import models
from django_tasks_q.conf import Options
from django_tasks_q.exceptions import AttemptCrashed
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.maintenance.rescue import rescue
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.orm import clock

from ..faults.mutations import without
from .model import Job, Model

pytestmark = pytest.mark.any_version  # a search for orders of calls

ALIAS = "default"
LEASE = 60.0
MAX_CRASHES = 3
FAILURE = Failure("CODE", "a.B", "message", "")
ENDINGS = ["success", "failure", "retry now", "retry later", "release", "interrupt", "snooze", "crash"]
#: In the default run a few seconds; a long one is asked for by the environment.
EXAMPLES = int(os.environ.get("PROOF_EXAMPLES", "25"))

numbers = st.integers(0, 10)
delays = st.sampled_from([0.0, 1.0, 30.0, 90.0])


class Queue(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.atomic = transaction.atomic(using=ALIAS)
        self.atomic.__enter__()
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.clock = mock.patch.object(clock, "timezone", SimpleNamespace(now=lambda: self.now))
        self.clock.start()
        self.storage = storage_for(ALIAS)
        self.model = Model(self.now, MAX_CRASHES)
        self.awake, self.frozen = [], []
        #: What each worker holds, and what it once held: attempts that may yet be heard of.
        self.held, self.past = {}, []
        self.boot()
        self.enqueue(0, 3, 0.0)

    def teardown(self):
        self.clock.stop()
        transaction.set_rollback(True, using=ALIAS)
        self.atomic.__exit__(None, None, None)

    # Callers

    @rule(priority=st.integers(-2, 2), max_attempts=st.integers(1, 3), delay=delays)
    def enqueue(self, priority, max_attempts, delay):
        run_after = self.now + timedelta(seconds=delay) if delay else None
        status = "SCHEDULED" if run_after else "READY"
        values = {
            "priority": priority,
            "max_attempts": max_attempts,
            "status": status,
            "run_after": run_after,
        }
        job = Job(uuid7(), **values)
        row = models.Job(id=job.id, task_name="a", queue_name="d", backend="default", **values)
        row.arguments, row.enqueued_at = "[[],{}]", self.now
        row.save(force_insert=True, using=self.storage.alias)
        self.model.enqueue(job)

    # Workers

    @rule()
    @precondition(lambda self: len(self.awake) < 4)
    def boot(self):
        worker_id = uuid.uuid4()
        row = models.Worker(id=worker_id, name="w", hostname="h", pid=1, backend="default", version="1")
        row.processes = 1
        self.storage.workers.register(row, LEASE)
        self.model.register(worker_id, LEASE)
        self.awake.append(worker_id)
        self.held[worker_id] = []

    @rule(number=numbers, limit=st.integers(1, 3))
    def claim(self, number, limit):
        worker_id = self.worker(number)
        jobs = self.storage.jobs.claim(Claim(worker_id=worker_id, backend="default", task_names=["a"]), limit)
        assert [(job.id, job.fence) for job in jobs] == self.model.claim(worker_id, limit)
        self.held[worker_id] += jobs

    @rule(number=numbers, ending=st.sampled_from(ENDINGS), delay=delays)
    @precondition(lambda self: any(self.held[worker_id] for worker_id in self.awake))
    def finish(self, number, ending, delay):
        workers = [worker_id for worker_id in self.awake if self.held[worker_id]]
        held = self.held[workers[number % len(workers)]]
        job = held.pop(number % len(held))
        self.past.append(job)
        self.end(job, ending, delay)

    @rule(number=numbers)
    @precondition(lambda self: self.past or any(self.held.values()))
    def mark(self, number):
        """Of an attempt that a child is about to be given, or that the worker does not own any more."""
        jobs = [job for held in self.held.values() for job in held] + self.past
        job = jobs[number % len(jobs)]
        attempt = (job.id, job.fence)
        assert (self.storage.jobs.mark_begun([attempt]) == {attempt}) is self.model.mark_begun(*attempt)

    @rule(number=numbers, ending=st.sampled_from(ENDINGS), delay=delays)
    @precondition(lambda self: self.model.in_status("READY"))
    def run(self, number, ending, delay):
        self.claim(number, 1)
        job = self.held[self.worker(number)].pop()
        self.past.append(job)
        self.end(job, ending, delay)

    @rule(number=numbers, ending=st.sampled_from(ENDINGS), delay=delays)
    @precondition(lambda self: self.past)
    def finish_again(self, number, ending, delay):
        """Of a worker that does not know that it has said so, or that the job was taken from it."""
        running = {job.id for job in self.model.in_status("RUNNING")}
        late = [job for job in self.past if job.id in running] or self.past
        self.end(late[-1 - number % len(late)], ending, delay)

    def end(self, job, ending, delay):
        outcome = self.outcome(job, ending, delay)
        assert (job.id in self.storage.jobs.finish([outcome])) is self.model.finish(outcome)

    def outcome(self, job, ending, delay):
        match ending:
            case "success":
                return Outcome.successful(job.id, job.fence, "1", 0.1)
            case "failure" | "retry now" | "retry later":
                after = {"failure": None, "retry now": 0.0, "retry later": 30.0}[ending]
                after = None if job.attempts >= job.max_attempts else after
                return Outcome.failed(job.id, job.fence, FAILURE, after, 0.1)
            case "release" | "interrupt":
                return Outcome.released(job.id, job.fence, None if ending == "release" else 0.1)
            case "snooze":
                return Outcome.snoozed(job.id, job.fence, delay, 0.1)
            case _:
                error = AttemptCrashed("gone")
                return Outcome.crashed(job.id, job.fence, error, True, job.crashes + 1 >= MAX_CRASHES, 0.1)

    @rule(number=numbers)
    def heartbeat(self, number):
        worker_id = self.worker(number)
        assert self.storage.workers.heartbeat(worker_id, LEASE) is self.model.heartbeat(worker_id, LEASE)

    @rule(number=numbers, how=st.sampled_from(["freeze", "crash", "stop"]))
    @precondition(lambda self: len(self.awake) > 1)
    def leave(self, number, how):
        worker_id = self.awake.pop(number % len(self.awake))
        if how == "freeze":
            self.frozen.append(worker_id)
            return
        self.past += self.held.pop(worker_id)  # it is gone, and what it has sent is still on the way
        if how == "stop":
            self.storage.workers.unregister(worker_id)
            self.model.unregister(worker_id)

    @rule(number=numbers)
    @precondition(lambda self: self.frozen)
    def wake(self, number):
        self.awake.append(self.frozen.pop(number % len(self.frozen)))

    def worker(self, number):
        return self.awake[number % len(self.awake)]

    # Time, and what is done by it

    @rule(seconds=st.sampled_from([0.5, 10.0, 59.5, 60.0, 200.0]))
    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)
        self.model.now = self.now
        self.promote()

    @rule()
    def rescue(self):
        rescued = rescue(self.storage, "default", Options(max_crashes=MAX_CRASHES))
        assert len(rescued.states) == self.model.lose()

    @rule()
    def promote(self):
        assert self.storage.maintenance.next_due("default").start == self.model.next_due()
        assert self.storage.maintenance.promote("default") == self.model.promote()

    @rule(limit=st.sampled_from([1, 100]))
    def prune(self, limit):
        assert self.storage.maintenance.prune("default", FINAL, 100.0, limit) == self.model.prune(
            FINAL, 100.0, limit
        )

    @invariant()
    def the_table_is_as_the_model_says(self):
        columns = (
            "status", "run_after", "fence", "attempts", "crashes", "rescues", "begun_fence", "worker_id",
            "finished_at",
        )  # fmt: skip
        rows = models.Job.objects.using(ALIAS).values_list("id", *columns)
        assert {row[0]: row[1:] for row in rows} == {
            job.id: (
                job.status, job.run_after, job.fence, job.attempts, job.crashes, job.rescues, job.begun_fence,
                job.worker, job.finished_at,
            )
            for job in self.model.jobs.values()
        }  # fmt: skip
        records = models.Attempt.objects.using(ALIAS).values_list("job_id", "fence", "outcome")
        assert sorted(records) == sorted(
            (job.id, *record) for job in self.model.jobs.values() for record in job.records
        )

    @invariant()
    def nothing_runs_more_often_than_it_may(self):
        for job in self.model.jobs.values():
            assert 0 <= job.attempts <= job.max_attempts
            assert 0 <= job.crashes <= MAX_CRASHES


def play(examples, **values):
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=examples,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **values,
        ),
    )


@pytest.mark.django_db(transaction=True, databases=[ALIAS])
def test_storage_does_what_its_model_does():
    play(EXAMPLES)


@pytest.mark.once  # that the one above can fail
@pytest.mark.parametrize("guard", ["fence", "state", "lease"])
@pytest.mark.django_db(transaction=True, databases=[ALIAS])
def test_without_a_guard_the_storage_is_not_its_model(guard):
    """The proof that the test above can fail. What fails first may be the constraint behind the fence."""
    with without(guard), pytest.raises((AssertionError, IntegrityError)):
        # It ends with the first one that fails.
        play(1000, phases=[Phase.generate], database=None, print_blob=False, report_multiple_bugs=False)
