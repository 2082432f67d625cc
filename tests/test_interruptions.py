"""Deadlines and cancellations that meet code which catches what it does not expect."""

import asyncio
import json

import pytest
from django.utils.functional import SimpleLazyObject

from django_tasks_q import TaskCancelled, TaskTimeout
from django_tasks_q.actions import cancel
from django_tasks_q.execution.interruption import is_suspended_in_handler

from .attempts import tasks
from .conftest import on_one_database
from .test_worker import finished, job, options, outcomes


@pytest.fixture
def attempts(project):
    project.env["EXTRA_APPS"] = '["tests.attempts", "tests.hardship"]'
    return project


#: What becomes of a task that is interrupted: its value, or None for a timeout.
ENDS = {
    "exists": None,
    "os error": None,
    "loop": None,
    "exception": None,
    "built in": None,
    "context manager": None,
    "name": "caught",
    "base": "caught",
}


@on_one_database
def test_a_timeout_passes_by_what_catches_exceptions(attempts):
    options(attempts, grace=20)  # who swallows it would have all the time
    results = {how: tasks.be_late.enqueue(how) for how in ENDS}
    results |= {f"{how} in thread": tasks.be_late_in_thread.enqueue(how) for how in ENDS}
    others = [
        tasks.be_late_in_pool.enqueue(),
        *map(tasks.be_late_in_loop.enqueue, ("wait", "thread", "check")),
    ]
    twice = tasks.be_late_twice.enqueue()
    attempts.run("runworker", "--batch", "--processes", "4", "--threads", "20")
    finished(attempts, *results.values(), *others, twice)
    for how, result in results.items():
        value = ENDS[how.removesuffix(" in thread")]
        if value is None:
            assert (job(result).error_code, outcomes(result)) == ("TASK_TIMEOUT", ["timeout"]), how
            (error,) = result.errors
            assert error.exception_class is TaskTimeout
            assert error.message == "The attempt ran longer than its timeout of 0.4 seconds.", how
        else:
            assert (job(result).status, result.return_value) == ("SUCCESSFUL", value), how
    assert [job(result).error_code for result in others] == ["TASK_TIMEOUT"] * len(others)
    assert outcomes(twice) == ["timeout", "timeout"]


@on_one_database
@pytest.mark.parametrize("how", ["loop", "exists", "name"])
def test_a_cancellation_passes_by_what_catches_exceptions(attempts, tmp_path, how):
    options(attempts, grace=20)
    path = tmp_path / "note"
    result = tasks.ignore_cancellation.enqueue(str(path), how)
    with attempts.worker("--processes", "1"):
        attempts.wait_for(path.exists)
        cancel(result.id)
        finished(attempts, result, timeout=15)
    if how == "name":
        assert result.return_value == "caught"
    else:
        assert (job(result).status, outcomes(result)) == ("CANCELLED", ["cancelled"])
        assert result.errors[0].exception_class is TaskCancelled


def test_interruptions_are_no_exceptions():
    for kind in (TaskTimeout, TaskCancelled):
        assert issubclass(kind, BaseException)
        assert not issubclass(kind, Exception)


@on_one_database
def test_a_receiver_that_takes_too_long_does_not_keep_the_others_from_hearing(attempts, tmp_path):
    attempts.env |= {"RECEIVERS": "take_long_and_note", "NOTE": str(tmp_path / "note")}
    limit = {"django_tasks_q.worker.children.process.HOOK_LIMIT": 0.3}
    attempts.env["HARDSHIP"] = json.dumps({"constants": limit})
    tasks.be_late_twice.using(timeout=0.05, max_attempts=1).enqueue()
    done = attempts.run("runworker", "--batch", "--processes", "1")
    assert (tmp_path / "note").read_text() == "heard\n"
    assert "ReceiverTimeout: Receivers of a task signal took longer than 0.3 seconds." in done.stderr


@pytest.mark.once
def test_a_look_at_a_coroutine_evaluates_none_of_its_lazy_objects():
    evaluated = []

    async def wait(lazy):
        try:
            await asyncio.sleep(0)
        finally:
            del lazy

    coroutine = wait(SimpleLazyObject(lambda: evaluated.append(1) or object()))
    coroutine.send(None)
    assert not is_suspended_in_handler(coroutine)
    coroutine.close()
    assert not evaluated
