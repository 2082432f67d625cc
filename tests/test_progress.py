"""The progress and the log lines of running tasks."""

import json
import logging
import math
import os
import signal
import time
import uuid
from functools import partial
from types import SimpleNamespace

import pytest
from django.db import connections, transaction

from django_tasks_q.execution.context import TaskContext
from django_tasks_q.models import Job, LogLine, Progress
from django_tasks_q.storage import LogNote, ProgressNote, storage_for
from django_tasks_q.testing import run_jobs
from django_tasks_q.worker.subscribers import progress as progress_module
from django_tasks_q.worker.subscribers.progress import ProgressBuffer

from .conftest import on_one_database
from .seedapp import tasks
from .tasksapp import tasks as plain_tasks
from .test_seed_features import run, seedapp
from .test_storage import add
from .test_worker import finished, job

__all__ = ["seedapp"]


def progress(result):
    return Progress.objects.get(job_id=result.id)


def lines(result):
    return [(line.level, line.logger, line.message) for line in LogLine.objects.filter(job_id=result.id)]


def test_progress_is_seen_while_the_job_runs(project, tmp_path):
    gate = tmp_path / "gate"
    result = tasks.count_to.enqueue(10, str(gate))
    with project.worker("--processes", "1"):
        project.wait_for(lambda: Progress.objects.filter(job_id=result.id).exists())
        seen = progress(result)
        assert (seen.total, seen.message) == (10, "steps")
        assert seen.current < 10
        gate.touch()
        assert finished(project, result).return_value == 10
    last = progress(result)
    assert (last.current, last.share, str(last)) == (10, 1.0, "10/10")
    assert last.updated_at >= seen.updated_at


@on_one_database
def test_tasks_of_every_kind_report_progress(project):
    awaited, atomic = tasks.count_to_async.enqueue(5), tasks.tell_of_it.enqueue()
    steps, nonsense = tasks.yield_unheard.enqueue(), tasks.tell_nonsense.enqueue("much")
    run(project, awaited, atomic, steps, nonsense)
    assert awaited.return_value == 10
    assert progress(awaited).current == 5
    assert (progress(atomic).current, progress(atomic).message) == (3, "nearly there")
    last = progress(steps)
    assert (last.current, last.share) == (len(steps.return_value), None)
    assert json.loads(last.value) == steps.return_value[-1]
    assert "set_progress() takes numbers" in nonsense.errors[0].message
    assert not Progress.objects.filter(job_id=nonsense.id).exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("value", "error"),
    [(math.nan, ValueError), (-math.inf, ValueError), (10**400, ValueError), ("5", TypeError)],
)
def test_what_is_no_number_of_a_table_is_refused_at_once(value, error):
    context = TaskContext(SimpleNamespace(reporter=None))
    for call in (context.set_progress, partial(context.set_progress, 1), partial(context.progress, [1])):
        with pytest.raises(error, match=r"progress\(\) takes "):
            call(value)


@on_one_database
def test_a_task_that_reports_without_end_is_ended_by_its_timeout(project, tmp_path):
    """The alarm never cuts an update in two: what comes after it on the pipe is understood."""
    mark = tmp_path / "mark"
    result = tasks.tell_without_end.enqueue(str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        os.kill(worker.pid, signal.SIGSTOP)  # so that the pipe is full when the time is over
        time.sleep(1.0)
        os.kill(worker.pid, signal.SIGCONT)
        finished(project, result)
        assert plain_tasks.add.enqueue(1, 1).get(timeout=20) == 2
    assert result.errors[0].code == "TASK_TIMEOUT"
    assert "was killed" not in result.errors[0].message
    assert progress(result).message == "x" * 255


def test_log_lines_are_kept_for_tasks_that_ask(project):
    much, twice, nothing = (
        tasks.say_much.enqueue(1100),
        tasks.say_twice.enqueue(),
        tasks.say_nothing.enqueue(),
    )
    run(project, much, twice, nothing)
    kept = lines(much)
    own = "tests.seedapp.tasks"
    assert kept[:2] == [
        (logging.INFO, own, "in words"),
        (logging.WARNING, "elsewhere", "of another"),
    ]
    assert kept[2][2].startswith("with a traceback\nTraceback")
    assert "ValueError: caught" in kept[2][2]
    assert kept[3][2] == "line 0"
    assert len(kept) == 1001
    assert kept[-1][2] == "(Only 1,000 lines of an attempt are kept.)"
    assert lines(twice) == [(logging.ERROR, own, "attempt 1"), (logging.ERROR, own, "attempt 2")]
    assert len({line.fence for line in LogLine.objects.filter(job_id=twice.id)}) == 2
    assert lines(nothing) == []


def test_metadata_is_read_anew_and_has_to_be_json(project):
    forgetful = tasks.forget.using(metadata={"from": "send"}).enqueue()
    spoilt = tasks.spoil_metadata.enqueue()
    run(project, forgetful, spoilt)
    assert forgetful.return_value == "{'from': 'send'} {'from': 'outside'}"
    assert "UnserializableValue" in spoilt.errors[0].exception_class_path
    assert job(spoilt).metadata is None


def test_tests_see_updates_too(storage_alias):
    result = tasks.yield_unheard.enqueue()
    (ran,) = run_jobs()
    assert ran.id == result.id
    assert Progress.objects.using(storage_alias).get(job_id=result.id).current == len(ran.return_value)


def test_tests_see_the_updates_of_coroutines_and_the_errors_of_tasks(storage_alias):
    """Updates are stored after the attempt: not on its loop, nor in the transaction that it has broken."""
    awaited, broken = tasks.count_to_async.enqueue(3), tasks.tell_and_break.enqueue(storage_alias)
    with transaction.atomic(using=storage_alias):
        first, second = run_jobs()
    assert (first.id, first.return_value) == (awaited.id, 3)
    assert Progress.objects.using(storage_alias).get(job_id=awaited.id).current == 3
    assert second.id == broken.id
    assert [error.code for error in second.errors] == ["UNHANDLED_EXCEPTION"]
    assert Progress.objects.using(storage_alias).get(job_id=broken.id).current == 2


# The storage


@pytest.fixture
def storage(storage_alias):
    return storage_for(storage_alias)


def test_only_the_last_attempt_may_report(storage):
    running = add(storage, status="RUNNING", fence=3)
    gone = uuid.uuid4()
    storage.progress.save(
        [
            ProgressNote(running.id, 3, 1, 4, ""),
            ProgressNote(running.id, 3, 2, 4, "half"),
            ProgressNote(gone, 1, 1, None, ""),
            LogNote(running.id, 2, 20, "a", "of an earlier attempt", 0.0),
            LogNote(running.id, 3, 20, "a", "of this one", 0.0),
            LogNote(gone, 1, 20, "a", "of nobody", 0.0),
        ]
    )
    assert Progress.objects.using(storage.alias).values_list("current", "message").get() == (2, "half")
    assert LogLine.objects.using(storage.alias).get().message == "of this one"
    storage.progress.save([ProgressNote(running.id, 2, 4, 4, "from the grave")])
    assert Progress.objects.using(storage.alias).get().message == "half"


def test_many_updates_take_few_statements(storage, django_assert_max_num_queries):
    running = [add(storage, status="RUNNING", fence=1) for _ in range(50)]
    notes = [ProgressNote(job.id, 1, number, 10, "") for number in range(10) for job in running]
    notes += [LogNote(job.id, 1, 20, "a", "b", 0.0) for job in running]
    for current in (9, 19):  # inserted, and updated
        with django_assert_max_num_queries(8, connection=connections[storage.alias]):
            storage.progress.save(notes)
        rows = Progress.objects.using(storage.alias)
        assert set(rows.values_list("current", "fence")) == {(current, 1)}
        notes = [ProgressNote(note.job_id, 1, 19, 20, "late") for note in notes[:50]]
    assert set(rows.values_list("total", "message")) == {(20, "late")}


def test_metadata_is_saved_by_the_owner_alone(storage):
    running = add(storage, status="RUNNING", fence=3)
    assert not storage.progress.save_metadata(running.id, 2, '{"a": 1}')
    assert storage.progress.save_metadata(running.id, 3, '{"a": 2}')
    assert Job.objects.using(storage.alias).get().metadata == '{"a": 2}'


def test_a_pruned_job_takes_its_updates_along(storage):
    old = add(storage, status="RUNNING", fence=1)
    storage.progress.save([ProgressNote(old.id, 1, 1, 1, ""), LogNote(old.id, 1, 20, "a", "b", 0.0)])
    Job.objects.using(storage.alias).update(status="SUCCESSFUL", finished_at=old.enqueued_at)
    assert storage.maintenance.prune("default", {"SUCCESSFUL"}, -60.0) == 1
    assert not LogLine.objects.using(storage.alias).exists()
    assert not Progress.objects.using(storage.alias).exists()


# The worker's buffer


class Refusing:
    """A storage to which a job of every batch is gone."""

    def __init__(self, error):
        self.error, self.batches = error, []
        self.session = self.progress = self

    def refuses(self, error):
        return error is self.error

    def save(self, notes):
        self.batches.append(len(notes))
        raise self.error


def update(number):
    return LogNote(uuid.UUID(int=number), 1, 20, "a", "b", 0.0)


def test_updates_that_are_refused_stop_no_others(caplog, monkeypatch):
    from django.db import IntegrityError, OperationalError

    monkeypatch.setattr(progress_module, "PAUSE", 60)  # longer than this test takes on the busiest machine
    storage = Refusing(IntegrityError("gone"))
    buffer = ProgressBuffer(storage)
    for number in range(progress_module.BATCH + 1):
        buffer.append(update(number))
    assert 0 < buffer.seconds_to_next <= progress_module.PAUSE
    buffer.write(now=False)
    assert storage.batches == []  # there may be more to write with them
    buffer.write(now=True)
    assert storage.batches == [progress_module.BATCH, 1]
    assert buffer.seconds_to_next == float("inf")
    assert "refused" in caplog.text

    storage = Refusing(OperationalError("away"))
    buffer = ProgressBuffer(storage)
    buffer.append(update(1))
    storage.session.refuses = lambda error: False
    with pytest.raises(OperationalError):
        buffer.write(now=True)
    assert buffer.seconds_to_next < float("inf")  # it is kept
    buffer.forget()
    assert buffer.seconds_to_next == float("inf")


def test_the_buffer_is_bounded():
    buffer = ProgressBuffer(None)
    for number in range(progress_module.MAX_UPDATES + 5):
        buffer.append(update(number))
    assert len(buffer._updates) == progress_module.MAX_UPDATES
    assert buffer._updates[0].job_id.int == 5
