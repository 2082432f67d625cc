"""Jobs that somebody does not want any more, in every state they can be in."""

import asyncio
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from django.db import transaction

from django_tasks_q import compat
from django_tasks_q.actions import Reason, cancel
from django_tasks_q.exceptions import WorkerLost
from django_tasks_q.execution.alarm import Alarm, AlarmControl
from django_tasks_q.execution.control import Control
from django_tasks_q.lifecycle.outcome import Failure, Outcome
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Attempt, Job
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.testing import run_jobs

from .conftest import on_one_database
from .tasksapp import tasks
from .test_worker import finished, job, options, outcomes


@pytest.fixture
def told():
    """What receivers of task_finished hear in this process."""
    heard = []

    def receiver(task_result, **kwargs):
        heard.append((task_result.id, str(task_result.status)))

    compat.task_finished.connect(receiver)
    yield heard
    compat.task_finished.disconnect(receiver)


def claimed(alias, task=tasks.noop, **using):
    result = task.using(**using).enqueue()
    storage = storage_for(alias)
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[task.name])
    (found,) = storage.jobs.claim(claim, 1)
    return storage, found, result


def row(alias, result):
    return Job.objects.using(alias).get(id=result.id)


def test_a_waiting_job_is_cancelled_at_once(storage_alias, told):
    result = tasks.noop.enqueue()
    later = tasks.noop.using(run_after=framework_later()).enqueue()
    cancelled = cancel([result.id, later.id], reason="not wanted", using=storage_alias)
    assert (cancelled.done, cancelled.requested) == ({uuid.UUID(result.id), uuid.UUID(later.id)}, set())
    found = row(storage_alias, result)
    assert (found.status, found.error_code, found.cancel_reason) == ("CANCELLED", "CANCELLED", "not wanted")
    assert found.finished_at is not None
    result.refresh()
    assert result.status == compat.TaskResultStatus.FAILED
    assert result.errors[0].exception_class_path == "django_tasks_q.exceptions.JobCancelled"
    assert sorted(told) == sorted([(result.id, "FAILED"), (later.id, "FAILED")])


def framework_later():
    from datetime import timedelta

    return timedelta(hours=1)


def test_a_cancellation_is_part_of_the_callers_transaction(storage_alias, told):
    result = tasks.noop.enqueue()
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=storage_alias):
        cancel(result.id, using=storage_alias)
        raise ZeroDivisionError
    assert (row(storage_alias, result).status, told) == ("READY", [])


def test_an_ended_job_is_left_alone(storage_alias, told):
    storage, found, result = claimed(storage_alias)
    storage.jobs.finish([Outcome.successful(found.id, found.fence, "1", 0.1)])
    assert cancel(result.id, using=storage_alias) == (set(), set(), {Reason.ENDED: {found.id}})
    assert (row(storage_alias, result).status, row(storage_alias, result).cancel_requested_at) == (
        "SUCCESSFUL",
        None,
    )
    first = tasks.noop.enqueue()
    assert cancel(first.id, using=storage_alias).done
    again = cancel(first.id, reason="again", using=storage_alias)
    assert again == (set(), set(), {Reason.ENDED: {uuid.UUID(first.id)}})
    assert row(storage_alias, first).cancel_reason == ""


ENDINGS = {
    "retry later": lambda job: Outcome.failed(job.id, job.fence, Failure("X", "a.B", "", ""), 60.0, 0.1),
    "retry now": lambda job: Outcome.failed(job.id, job.fence, Failure("X", "a.B", "", ""), 0.0, 0.1),
    "release": lambda job: Outcome.released(job.id, job.fence, 0.1),
    "snooze": lambda job: Outcome.snoozed(job.id, job.fence, 60.0, 0.1),
    "lost": lambda job: Outcome.crashed(job.id, job.fence, WorkerLost("gone"), again=True, poison=False),
    "rescued": lambda job: Outcome.rescued(job.id, job.fence, Failure.of(WorkerLost("gone"), "WORKER_LOST")),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_a_job_that_is_to_end_is_not_run_again(storage_alias, how):
    storage, found, result = claimed(storage_alias)
    assert cancel(result.id, using=storage_alias).requested == {found.id}
    assert storage.jobs.cancelling(row(storage_alias, result).worker_id) == {found.id}
    assert storage.jobs.finish([ENDINGS[how](found)]) == {found.id: JobStatus.CANCELLED}
    ended = row(storage_alias, result)
    assert (ended.status, ended.error_code) == ("CANCELLED", "CANCELLED")
    assert ended.finished_at is not None
    assert Attempt.objects.using(storage_alias).filter(job_id=found.id).count() == 1


def test_what_is_written_first_stands(storage_alias):
    storage, found, result = claimed(storage_alias)
    cancel(result.id, using=storage_alias)
    assert storage.jobs.finish([Outcome.successful(found.id, found.fence, "1", 0.1)])
    assert row(storage_alias, result).status == "SUCCESSFUL"


def test_a_retry_in_waiting_is_cancelled(storage_alias):
    storage, found, result = claimed(storage_alias)
    storage.jobs.finish([ENDINGS["retry later"](found)])
    assert cancel(result.id, using=storage_alias).done == {found.id}
    assert storage.jobs.finish([ENDINGS["retry later"](found)]) == {}


def test_what_is_no_id_is_refused(storage_alias):
    with pytest.raises(ValueError, match="badly formed"):
        cancel("nonsense", using=storage_alias)
    unknown = uuid.uuid4()
    assert cancel(unknown, using=storage_alias) == (set(), set(), {Reason.GONE: {unknown}})
    with pytest.raises(ValueError, match="reason must be 1 to 255 printable characters"):
        cancel(uuid.uuid4(), reason="a\nb", using=storage_alias)


# By way of workers


@on_one_database
@pytest.mark.parametrize("how", ["sleep", "answer", "stubborn"])
def test_a_running_process_is_interrupted(project, tmp_path, how):
    options(project, grace=0.3)
    mark = tmp_path / "mark"
    result = tasks.be_cancelled.using(max_attempts=3).enqueue(str(mark), how)
    with project.worker("--processes", "1"):
        pid = int(project.wait_for(lambda: mark.exists() and mark.read_text()))
        cancel(result.id)
        finished(project, result, timeout=5)
        project.wait_for(lambda: not psutil.pid_exists(pid))
        after = finished(project, tasks.leave.enqueue("after"))
    assert mark.read_text() == "TaskCancelled: The job was cancelled."
    assert after.return_value != pid
    if how == "answer":
        assert (job(result).status, result.return_value) == ("SUCCESSFUL", "done anyway")
        return
    assert (job(result).status, job(result).error_code, job(result).crashes) == ("CANCELLED", "CANCELLED", 0)
    assert outcomes(result) == ["cancelled"]
    assert len(result.errors) == 1
    assert result.errors[0].exception_class_path == "django_tasks_q.exceptions.TaskCancelled"
    assert ("did not end within 0.3 seconds" in result.errors[0].message) == (how == "stubborn")


def test_a_cancellation_comes_within_a_second(project, tmp_path):
    mark = tmp_path / "mark"
    result = tasks.be_cancelled.enqueue(str(mark))
    with project.worker("--processes", "1"):
        project.wait_for(mark.exists)
        cancel(result.id)
        finished(project, result)
    asked, ended = job(result).cancel_requested_at, job(result).finished_at
    # By a hint where there are any; else at the next look, a second later at the latest.
    assert (ended - asked).total_seconds() < (1.0 if project.alias == "postgres" else 2.5)


@on_one_database
@pytest.mark.parametrize("task", ["be_cancelled_async", "be_cancelled_alone"])
def test_a_coroutine_is_cancelled(project, tmp_path, task):
    mark = tmp_path / "mark"
    result = getattr(tasks, task).enqueue(str(mark))
    with project.worker("--processes", "1"):
        project.wait_for(mark.exists)
        cancel(result.id)
        finished(project, result, timeout=5)
    assert (job(result).status, mark.read_text()) == ("CANCELLED", "cleaned up")


@on_one_database
@pytest.mark.parametrize("how", ["sleep", "look"])
def test_a_thread_finds_out(project, tmp_path, how):
    mark = tmp_path / "mark"
    result = tasks.sleep_in_thread.enqueue(str(mark), how)
    with project.worker("--processes", "1"):
        project.wait_for(mark.exists)
        cancel(result.id)
        finished(project, result, timeout=5)
    if how == "sleep":
        assert job(result).status == "CANCELLED"
    else:
        assert (job(result).status, result.return_value) == ("SUCCESSFUL", "stopped early")


@on_one_database
def test_a_task_may_cancel_itself(project):
    result = tasks.cancel_self.enqueue("no more orders")
    project.run("runworker", "--batch", "--processes", "1")
    finished(project, result)
    assert (job(result).status, result.errors[0].message, outcomes(result)) == (
        "CANCELLED",
        "no more orders",
        ["cancelled"],
    )


@pytest.mark.parametrize(
    ("given", "kept"), [("no more orders", "no more orders"), ("", ""), ("x" * 300, "x" * 255)]
)
def test_the_reason_of_a_task_that_cancels_itself_is_kept(storage_alias, given, kept):
    result = tasks.cancel_self.enqueue(given)
    run_jobs()
    row = Job.objects.using(storage_alias).get(id=result.id)
    assert (row.status, row.cancel_reason) == ("CANCELLED", kept)


def test_the_reason_of_whoever_asked_for_the_end_stays(storage_alias):
    result = tasks.noop.enqueue()
    storage = storage_for(storage_alias)
    (claimed,) = storage.jobs.claim(
        Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.noop.name]), 1
    )
    cancel(result.id, reason="by hand", using=storage_alias)
    failure = Failure("CANCELLED", "x.TaskCancelled", "by the task", "")
    storage.jobs.finish([Outcome.cancelled(claimed.id, claimed.fence, failure, 0.1)])
    row = Job.objects.using(storage_alias).get(id=result.id)
    assert (row.status, row.cancel_reason) == ("CANCELLED", "by hand")


def test_only_the_job_that_was_meant_is_cancelled(project, tmp_path):
    """Jobs are handed over in advance: those before and behind the one that is cancelled run on."""
    go, mark = tmp_path / "go", tmp_path / "mark"
    running = tasks.wait_for_file.enqueue(str(go), str(mark))
    with project.worker("--processes", "1"):
        project.wait_for(mark.exists)
        others = [tasks.noop.enqueue() for _ in range(40)]
        cancel([other.id for other in others[::2]])
        go.touch()
        finished(project, running, *others)
    assert [job(other).status for other in others] == ["CANCELLED", "SUCCESSFUL"] * 20


def test_a_job_is_cancelled_although_its_worker_dies(project, tmp_path):
    options(project, lease=2)
    mark = tmp_path / "mark"
    result = tasks.sleep.enqueue(600, str(mark))
    with project.worker("--processes", "1") as worker:
        project.wait_for(mark.exists)
        psutil.Process(worker.pid).send_signal(signal.SIGSTOP)
        cancel(result.id)
        worker.kill()
    with project.worker("--processes", "1"):
        finished(project, result)
    assert (job(result).status, outcomes(result)) == ("CANCELLED", ["rescued"])


@on_one_database
def test_a_process_is_interrupted_between_two_sleeps_as_well(project, tmp_path):
    """The signal comes while the lock of whatever the task waits with may be taken."""
    options(project, grace=3)
    with project.worker("--processes", "1"):
        for number in range(8):
            mark = tmp_path / f"mark{number}"
            result = tasks.check_often.enqueue(str(mark))
            project.wait_for(mark.exists)
            cancel(result.id)
            finished(project, result, timeout=10)
            assert job(result).status == "CANCELLED", result.errors
            assert "did not end within" not in result.errors[0].message


# The moment at which an attempt is over already


@pytest.fixture
def alarm():
    before = signal.getsignal(signal.SIGALRM)
    yield Alarm()
    signal.signal(signal.SIGALRM, before)


def controls(alarm):
    """Whose cancellation comes from another thread, and whose by a signal, as that of a process child."""
    asked = threading.Event()
    by_signal = AlarmControl(alarm, is_cancelled=asked.is_set)

    def ring():
        asked.set()
        by_signal.interrupt()

    by_call = Control()
    return {"call": (by_call, by_call.cancel), "signal": (by_signal, ring)}


@pytest.mark.parametrize("kind", ["call", "signal"])
def test_a_cancellation_that_meets_a_closed_loop_does_no_harm(alarm, kind):
    control, cancel_it = controls(alarm)[kind]
    loop = asyncio.new_event_loop()
    asking, closed = threading.Event(), threading.Event()
    tell = loop.call_soon_threadsafe

    def tell_late(*args):
        asking.set()
        assert closed.wait(10)
        tell(*args)

    loop.call_soon_threadsafe = tell_late
    with ThreadPoolExecutor() as others:

        async def task():
            cancelling = others.submit(cancel_it)
            assert asking.wait(10)
            return cancelling

        cancelling = loop.run_until_complete(control.awaited(task))
        loop.close()
        closed.set()
        assert cancelling.result(10) is None
    assert control.cancel_requested


@pytest.mark.parametrize("kind", ["call", "signal"])
def test_a_cancellation_that_comes_behind_the_task_reaches_nothing_else(alarm, kind):
    """The loop is told while the task is there, and listens when it is not."""
    control, cancel_it = controls(alarm)[kind]

    async def task():
        cancel_it()
        return "done"

    async def attempt():
        answer = await control.awaited(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return answer

    assert asyncio.run(attempt()) == "done"
