"""Tasks that leave streams which cannot be written to, and what becomes of the others."""

import psutil
import pytest

from .attempts import tasks
from .conftest import on_one_database
from .tasksapp import tasks as usual
from .test_worker import finished, job, outcomes


@pytest.fixture
def attempts(project):
    project.env["EXTRA_APPS"] = '["tests.attempts"]'
    # As in production, where streams are buffered.
    del project.env["PYTHONUNBUFFERED"]
    return project


WAYS = [*(f"stdout {way}" for way in ("closed", "none", "pipe", "full")), "stderr closed", "stderr full"]


@on_one_database
def test_a_child_that_cannot_flush_its_streams_harms_no_sibling(attempts, tmp_path):
    go, mark = tmp_path / "go", tmp_path / "mark"
    slow = usual.wait_for_file.enqueue(str(go), str(mark))
    with attempts.worker("--processes", "2", "--max-jobs-per-child", "1") as worker:
        attempts.wait_for(mark.exists)
        pid = int(mark.read_text())
        results = [tasks.spoil.enqueue(how) for how in WAYS]
        finished(attempts, *results)
        # Each of them had a child of its own; when the last one's successor has run, all have ended.
        finished(attempts, usual.noop.enqueue(), usual.noop.enqueue())
        assert psutil.pid_exists(pid)
        go.touch()
        finished(attempts, slow)
        assert worker.stop() == 0
    assert (slow.return_value, outcomes(slow), job(slow).crashes) == (pid, [], 0)
    assert not any(outcomes(result) for result in results)


@on_one_database
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_is_logged_behind_a_task_that_closed_a_stream_harms_no_job(attempts, name):
    result, after = tasks.spoil_and_leave_open.enqueue(name), usual.noop.enqueue()
    attempts.run("runworker", "--batch", "--processes", "1")
    finished(attempts, result, after)
    assert [job(each).status for each in (result, after)] == ["SUCCESSFUL"] * 2
    assert outcomes(result) == []


@on_one_database
@pytest.mark.parametrize("where", ["process", "thread", "loop"])
def test_a_task_that_closes_a_stream_leaves_its_child_to_no_other(attempts, where):
    closes, says = (getattr(tasks, f"{verb}_in_{where}") for verb in ("close", "say"))
    first, *others = closes.enqueue(), says.enqueue(), says.enqueue()
    attempts.run("runworker", "--batch", "--processes", "1", "--threads", "1", "--async-concurrency", "1")
    assert [job(each).status for each in (first, *others)] == ["SUCCESSFUL"] * 3
    assert not any(outcomes(each) for each in (first, *others))
