"""What one job costs at each of its stations, in calls of functions: a number that no busy machine changes.

A change that adds to them is either worth it, and then the number is raised in the same commit, or a mistake.
Times are measured by ``make bench``.
"""

import gc
import sys
import uuid

import pytest
from django.db import connections
from django.test import TransactionTestCase
from django.utils import timezone

from django_tasks_q import compat
from django_tasks_q.execution import wrappers
from django_tasks_q.execution.alarm import Alarm, AlarmControl
from django_tasks_q.execution.runner import Runner
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.models.identifiers import uuid7
from django_tasks_q.storage import Claim, ClaimedJob, storage_for
from django_tasks_q.storage.timestamps import microseconds
from django_tasks_q.worker.children import protocol
from django_tasks_q.worker.outcome_writer import write_outcomes

from .tasksapp import tasks

pytestmark = pytest.mark.once  # the numbers are those of the oldest Python

JOBS = 100
#: Calls for each job, Python's and the interpreter's own, on the oldest Python; newer ones make fewer.
#: To enqueue takes 298 by itself. Behind other tests of the process it has been up to 306.
CHILD, THERE, BACK, ENQUEUE, ENQUEUE_MANY, WRITE, CLAIM = 107, 8, 13, 308, 24, 15, 6


def calls(work) -> float:
    """Calls made by ``work``, for each of its jobs."""
    work()  # what is found out once
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    gc.collect()
    gc.disable()  # who listens to it, as Hypothesis does, would be counted
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count / JOBS


def claimed():
    now = microseconds(timezone.now())
    return ClaimedJob(
        id=uuid7(), fence=1, task_name=tasks.add.name, queue_name="default", priority=0, arguments="[[5],{}]",
        metadata=None,
        options="", max_attempts=1, timeout=1800.0, attempts=1, crashes=0, enqueued_at=now,
        last_attempted_at=now, expires_at=None, run_after=None,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nobody_listens(caplog):
    # Where Django logs each job, as it does from 6.0 on unless told otherwise, that costs more than the rest.
    caplog.set_level("WARNING", logger=compat._signals.logger.name)
    assert not any(map(compat.is_observed, (compat.task_enqueued, compat.task_started, compat.task_finished)))


def test_a_child_runs_a_job(monkeypatch):
    # Where tasks have used a database, connections are looked after, which is not counted here.
    monkeypatch.setattr(wrappers, "_made", set())
    runner, alarm = Runner(tasks.add.get_backend(), str(uuid.uuid4())), Alarm()
    runner.watch_process()
    hooks = AlarmControl(alarm, 30.0)
    jobs = [claimed() for _ in range(JOBS)]

    def work():
        for job in jobs:
            outcome = runner.run(job, AlarmControl(alarm, job.timeout), hooks)
            assert outcome.result == "5"

    assert calls(work) <= CHILD


def test_a_job_goes_to_a_child():
    jobs = [claimed() for _ in range(JOBS)]
    assert calls(lambda: protocol.unpack_jobs(protocol.pack_jobs(jobs, 1))) <= THERE


def test_an_outcome_comes_back():
    outcomes = [Outcome.successful(uuid7(), 1, "5", 0.1) for _ in range(JOBS)]

    def work():
        for outcome in outcomes:
            body = protocol.pack_success(outcome, has_receivers=False)
            assert protocol.unpack_success(body, outcome.job_id) == (outcome, False)

    assert calls(work) <= BACK


# On PostgreSQL


@pytest.fixture
def storage():
    connection = connections["postgres"]
    connection.close()
    # Where an earlier test was forbidden this database, Django put its methods back as attributes. They are
    # compared with those of the class for each statement, which happens in no process outside of tests.
    for name in TransactionTestCase._disallowed_connection_methods:
        vars(connection).pop(name[0], None)
    return storage_for("postgres")


@pytest.fixture
def queue(settings, storage):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}


on_postgres = pytest.mark.django_db(transaction=True, databases=["postgres"])


@on_postgres
def test_a_call_is_enqueued(queue):
    def work():
        for number in range(JOBS):
            tasks.add.enqueue(number)

    assert calls(work) <= ENQUEUE


@on_postgres
def test_many_calls_are_enqueued(queue):
    numbers = [(number,) for number in range(JOBS)]
    assert calls(lambda: tasks.add.enqueue_many(numbers)) <= ENQUEUE_MANY


@on_postgres
def test_a_batch_is_claimed_and_written(queue, storage):
    tasks.add.enqueue_many([(number,) for number in range(4 * JOBS)])
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.add.name])
    claimed = [storage.jobs.claim(claim, JOBS) for _ in range(2)]
    assert calls(lambda: claimed.append(storage.jobs.claim(claim, JOBS))) <= CLAIM

    def write():
        outcomes = [Outcome.successful(job.id, job.fence, "5", 0.1) for job in claimed.pop()]
        assert len(write_outcomes(storage, outcomes)[1]) == JOBS

    assert calls(write) <= WRITE
