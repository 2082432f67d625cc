"""Stops of the worker and timeouts, as they reach tasks: also those that do not expect them."""

import pytest

from django_tasks_q import WorkerStopping

from .conftest import on_one_database
from .stopping import tasks
from .test_worker import finished, job, options, outcomes


@pytest.fixture
def stopping(project):
    project.env["EXTRA_APPS"] = '["tests.stopping"]'
    return project


CAPACITY = ("--processes", "12", "--threads", "20")
EVERYWHERE = {"process": tasks.stop_in_process, "thread": tasks.stop_in_thread, "async": tasks.stop_in_loop}

BARE = (tasks.stop_in_bare_loop, tasks.stop_in_own_loop)


def start(project, path, *calls):
    """Enqueue calls, each with a file for its notes."""
    found = {}
    for number, (task, how) in enumerate(calls):
        found[task.func.__name__, how] = (task.enqueue(str(path / str(number)), how), path / str(number))
    return found


@on_one_database
def test_a_stop_reaches_the_task(stopping, tmp_path):
    options(stopping, grace=20)  # at once; nothing is killed in the time that the test has
    ways = ("unaware", "asleep", "failing", "raising")
    calls = [(task, how) for task in EVERYWHERE.values() for how in ways]
    calls += [(task, "swallowing") for task in (tasks.stop_in_process, tasks.stop_in_thread)]
    calls += [(task, how) for task in BARE for how in ("unaware", "swallowing")]
    calls += [(tasks.stop_in_generator, "")]
    calls += [(tasks.stop_once, "unaware")]
    jobs = start(stopping, tmp_path, *calls)
    with stopping.worker(*CAPACITY, "--shutdown-timeout", "19") as worker:
        stopping.wait_for(lambda: all(path.exists() for _, path in jobs.values()))
        assert worker.stop() == 0
    for (task, how), (result, path) in jobs.items():
        row, notes = job(result), path.read_text().splitlines()
        if task == "stop_once":
            assert (row.status, row.error_code, outcomes(result)) == ("FAILED", "WORKER_STOPPED", ["failed"])
            result.refresh()
            assert result.errors[0].exception_class is WorkerStopping
            continue
        if how == "failing" and task != "stop_in_loop":
            assert (row.status, row.attempts, outcomes(result)) == ("SCHEDULED", 1, ["failed"]), (task, how)
        else:
            assert (row.status, row.attempts, row.crashes) == ("READY", 0, 0), (task, how)
            assert outcomes(result) == ["released"], (task, how)
        if how == "unaware":
            assert "finally, stopping True" in notes, (task, how)
        if task == "stop_in_generator":
            assert "generator closed" in notes
        elif task not in ("stop_in_own_loop", "stop_in_bare_loop"):
            assert notes[-2:] == ["closed", "left"], (task, how)


@on_one_database
def test_a_task_may_heed_the_stop(stopping, tmp_path):
    options(stopping, grace=0.5)
    calls = [(task, "cooperative") for task in EVERYWHERE.values()]
    jobs = start(stopping, tmp_path, *calls)
    with stopping.worker(*CAPACITY, "--shutdown-timeout", "20") as worker:
        stopping.wait_for(lambda: all(path.exists() for _, path in jobs.values()))
        assert worker.stop(10) == 0
    for (task, how), (result, _) in jobs.items():
        assert (job(result).status, outcomes(result)) == ("SUCCESSFUL", []), (task, how)
        result.refresh()
        assert result.return_value == "stopped early"


@on_one_database
def test_a_task_that_catches_the_stop_by_name_has_succeeded(stopping, tmp_path):
    options(stopping, grace=1)
    calls = [(tasks.stop_in_process, "named"), (tasks.stop_in_thread, "named")]
    jobs = start(stopping, tmp_path, *calls)
    with stopping.worker(*CAPACITY, "--shutdown-timeout", "2") as worker:
        stopping.wait_for(lambda: all(path.exists() for _, path in jobs.values()))
        assert worker.stop(10) == 0
    for result, _ in jobs.values():
        result.refresh()
        assert result.return_value == "caught"


@on_one_database
def test_only_a_worker_that_stops_gives_back_a_job_that_says_so(stopping, tmp_path):
    result = tasks.stop_in_process.using(max_attempts=1).enqueue(str(tmp_path / "notes"), "early")
    stopping.run("runworker", "--batch", "--processes", "1")
    assert (job(result).status, outcomes(result)) == ("FAILED", ["failed"])


SWALLOWED = ("loop", "once", "bare", "finally", "context manager", "other error", "path")
ASWALLOWED = ("loop", "once", "return", "shield", "other error", "cleanup")


@on_one_database
def test_a_timeout_cannot_be_swallowed(stopping, tmp_path):
    options(stopping, grace=20)  # the code has to end by itself
    swallowed = [
        task.enqueue(how) for task in (tasks.swallow_in_process, tasks.swallow_in_thread) for how in SWALLOWED
    ]
    for task in (tasks.swallow_in_loop, tasks.swallow_in_own_loop):
        swallowed += [task.enqueue(str(tmp_path / task.func.__name__), how) for how in ASWALLOWED]
    heeding = (tasks.heed_in_process, tasks.heed_in_thread)
    cleaned = [task.enqueue(str(tmp_path / task.func.__name__), "cleanup") for task in heeding]
    named = [task.enqueue(str(tmp_path / "none"), how) for task in heeding for how in ("named", "tuple")]
    stopping.run("runworker", "--batch", *CAPACITY)
    finished(stopping, *swallowed, *cleaned, *named)
    for result in (*swallowed, *cleaned):
        assert (job(result).error_code, outcomes(result)) == ("TASK_TIMEOUT", ["timeout"]), result.args
        assert result.errors[0].message == "The attempt ran longer than its timeout of 0.4 seconds."
    for task in (*heeding, tasks.swallow_in_loop, tasks.swallow_in_own_loop):
        assert (tmp_path / task.func.__name__).read_text() == "cleaned up\n"
    assert [result.return_value for result in named] == ["named"] * 4


@on_one_database
def test_a_stop_without_time_kills_and_raises_nothing(stopping, tmp_path):
    calls = [(tasks.stop_in_process, "named"), (tasks.stop_in_thread, "named")]
    jobs = start(stopping, tmp_path, *calls)
    with stopping.worker(*CAPACITY, "--shutdown-timeout", "0") as worker:
        stopping.wait_for(lambda: all(path.exists() for _, path in jobs.values()))
        assert worker.stop(10) == 0
    for result, _ in jobs.values():
        assert (job(result).status, outcomes(result)) == ("READY", ["released"])
