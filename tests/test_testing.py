"""``run_jobs()`` as users call it: inside a TestCase, on the connection and transaction of the test."""

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.test import TestCase

from django_tasks_q import compat, task
from django_tasks_q.models import Job
from django_tasks_q.testing import run_jobs

from .tasksapp import tasks
from .tasksapp.models import Effect

SUCCESSFUL, FAILED = compat.TaskResultStatus.SUCCESSFUL, compat.TaskResultStatus.FAILED


class RunJobsTests(TestCase):
    def test_jobs_run_in_the_tests_transaction(self):
        assert connection.in_atomic_block
        result = tasks.leave.enqueue("seen")
        assert [ran.id for ran in run_jobs()] == [result.id]
        assert Effect.objects.get().key == "seen"
        result.refresh()
        assert result.status == SUCCESSFUL

    def test_what_jobs_enqueue_runs_too(self):
        tasks.enqueue_child.enqueue(2)
        assert [ran.task.func.__name__ for ran in run_jobs()] == ["enqueue_child", "add", "add"]

    def test_failures_and_retries_are_as_in_a_worker(self):
        good, bad = tasks.succeed_at.enqueue(2), tasks.fail.enqueue()
        statuses = {ran.id: ran.status for ran in run_jobs()}
        assert statuses == {good.id: SUCCESSFUL, bad.id: FAILED}

    def test_jobs_of_later_stay(self):
        tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
        tasks.fail_slowly.enqueue()
        assert len(run_jobs()) == 1
        assert run_jobs() == []
        assert Job.objects.filter(status="SCHEDULED").count() == 2

    def test_asynchronous_tasks_run(self):
        tasks.async_add.enqueue(1, 2)
        (ran,) = run_jobs()
        assert ran.return_value == 3

    def test_the_number_of_runs_is_bounded(self):
        tasks.noop.enqueue_many([()] * 3)
        assert len(run_jobs(limit=2)) == 2

    def test_other_backends_run_their_jobs_themselves(self):
        with (
            self.settings(TASKS={"default": {"BACKEND": "django_tasks_q.backends.ImmediateBackend"}}),
            pytest.raises(ImproperlyConfigured, match="needs a DatabaseBackend"),
        ):
            run_jobs()


def test_a_database_error_of_a_task_does_not_spoil_the_transaction(storage_alias):
    with transaction.atomic(using=storage_alias):
        result = tasks.query.enqueue(storage_alias, "SELECT nonsense FROM nowhere")
        fine = tasks.query.enqueue(storage_alias, "SELECT 42")
        run_jobs()
        assert tasks.query.get_result(result.id).status == FAILED
        assert tasks.query.get_result(fine.id).return_value == 42


SIGNALS = ("task_enqueued", "task_started", "task_finished")


@pytest.mark.django_db
def test_signals_tell_of_a_job_once_each_and_of_how_it_ended():
    heard = []

    def listen(sender, task_result, signal, **kwargs):
        name = next(name for name in SIGNALS if getattr(compat, name) is signal)
        heard.append((sender.__name__, name, task_result.id, str(task_result.status), task_result.attempts))

    for name in SIGNALS:
        getattr(compat, name).connect(listen)
    try:
        good, bad = tasks.noop.enqueue(), tasks.fail_thrice.enqueue()
        run_jobs()
    finally:
        for name in SIGNALS:
            getattr(compat, name).disconnect(listen)
    told = [entry[1:] for entry in heard if entry[2] == good.id]
    assert told == [
        ("task_enqueued", good.id, "READY", 0),
        ("task_started", good.id, "RUNNING", 1),
        ("task_finished", good.id, "SUCCESSFUL", 1),
    ]
    told = [(name, status, attempts) for _, name, id_, status, attempts in heard if id_ == bad.id]
    assert told == [
        ("task_enqueued", "READY", 0),
        ("task_started", "RUNNING", 1),
        ("task_started", "RUNNING", 2),
        ("task_started", "RUNNING", 3),
        ("task_finished", "FAILED", 3),
    ]
    assert {entry[0] for entry in heard} == {"DatabaseBackend"}


@pytest.mark.django_db
def test_a_receiver_that_raises_changes_no_outcome(caplog):
    def broken(**kwargs):
        raise RuntimeError("a receiver's own fault")

    compat.task_started.connect(broken)
    compat.task_finished.connect(broken)
    try:
        result = tasks.add.enqueue(1, 1)
        run_jobs()
    finally:
        compat.task_started.disconnect(broken)
        compat.task_finished.disconnect(broken)
    result.refresh()
    assert result.return_value == 2
    assert "a receiver's own fault" in caplog.text


def interrupt():
    raise KeyboardInterrupt


interrupted = task(name="test_testing.interrupted")(interrupt)
interrupted_within = task(name="test_testing.interrupted_within", atomic=True)(interrupt)


@pytest.mark.django_db
@pytest.mark.parametrize("made", [interrupted, interrupted_within], ids=["plain", "atomic"])
def test_an_interruption_ends_the_run_and_no_job(made, caplog):
    result = made.enqueue()
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    job = Job.objects.get(id=result.id)
    assert (job.status, job.attempts) == ("READY", 0)
