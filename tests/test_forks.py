"""Copies of a child that tasks make by os.fork() and that come back from user code."""

import os
import subprocess
import sys

import pytest

from django_tasks_q.models import Job

from .attempts import tasks
from .conftest import on_one_database
from .project import ROOT
from .test_worker import finished, outcomes


@pytest.fixture
def attempts(project):
    project.env["EXTRA_APPS"] = '["tests.attempts"]'
    return project


def lines(path):
    return path.read_text().split() if path.exists() else []


EXECUTORS = [
    tasks.fork_in_process, tasks.fork_in_thread, tasks.fork_in_loop, tasks.fork_in_own_loop,
    tasks.fork_in_thread_of_loop,
]  # fmt: skip


@on_one_database
def test_a_copy_that_comes_back_ends_in_every_executor(attempts, tmp_path):
    results = {
        (task.name, how): task.enqueue(how, str(tmp_path / "note"))
        for task in EXECUTORS
        for how in tasks.WAYS
    }
    done = attempts.run("runworker", "--batch", "--processes", "1", timeout=30)
    assert not Job.objects.exclude(status="SUCCESSFUL").exists()
    finished(attempts, *results.values())
    assert {key: result.return_value for key, result in results.items()} == {
        key: tasks.WAYS[key[1]] for key in results
    }
    assert f"{len(results)} succeeded" in done.stdout
    # As a program of its own would have it: what was raised is shown, once for each copy.
    shown = done.stderr.splitlines()
    assert (shown.count("ValueError: a copy"), shown.count("a copy")) == (len(EXECUTORS),) * 2


#: What is noted once, wherever the copy was made.
PLACES = {
    tasks.fork_atomically: (0, []),
    tasks.fork_after_commit: ("done", ["0"]),
    tasks.fork_in_generator: ([0], []),
    tasks.fork_in_handler: (None, ["0", "resumed"]),
    tasks.fork_in_async_generator: ([0], []),
    tasks.fork_in_dependency: (0, ["called", "closed"]),
    tasks.fork_within_dependency: (0, ["closed"]),
    tasks.fork_before: (0, ["called", "left"]),
    tasks.fork_behind: (0, ["called", "left"]),
    tasks.fork_in_executor: (0, []),
    tasks.fork_in_backoff: (0, []),
}


def test_what_goes_around_a_task_is_left_by_the_original_alone(attempts, tmp_path):
    attempts.env["RECEIVERS"] = "fork_in_receivers"
    notes = {task: tmp_path / task.func.__name__ for task in PLACES}
    results = {task: task.enqueue("return", str(notes[task])) for task in PLACES}
    noted = tmp_path / "receivers"
    tasks.note_once.enqueue(str(noted))
    attempts.run("runworker", "--batch", "--processes", "1", timeout=30)
    assert not Job.objects.exclude(status="SUCCESSFUL").exists()
    finished(attempts, *results.values())
    for task, (value, expected) in PLACES.items():
        if task is tasks.fork_in_handler:
            assert results[task].return_value == [["return", str(notes[task])]]
        else:
            assert results[task].return_value == value, task
        assert lines(notes[task]) == expected, task
    assert outcomes(results[tasks.fork_in_backoff]) == ["failed", "successful"]
    assert lines(noted) == ["RUNNING", "0", "SUCCESSFUL", "0"]


RUN_JOBS = """
import os
import django

django.setup()
from django_tasks_q.models import Job
from django_tasks_q.testing import run_jobs
from tests.attempts import tasks

result = tasks.fork_in_process.enqueue("return", "")
(ran,) = run_jobs()
print(os.getpid(), ran.return_value)
"""


def test_a_copy_does_not_come_back_from_run_jobs(attempts):
    done = subprocess.run(
        [sys.executable, "-c", RUN_JOBS], env=attempts.env, cwd=ROOT, check=True, timeout=60,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert line.split()[1] == "0"
    assert os.getpid() != int(line.split()[0])
    assert Job.objects.get().status == "SUCCESSFUL"


IMMEDIATE = """
import os

import django

django.setup()

from django.test import override_settings

from django_tasks_q import compat, task


@task
def fork(how):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if how == "raise":
        raise ValueError("a copy")


def receive(task_result, **kwargs):
    print("finished", task_result.task == fork, flush=True)


compat.task_finished.connect(receive)
with override_settings(TASKS={"default": {"BACKEND": "django_tasks_q.backends.ImmediateBackend"}}):
    for how in ("return", "raise"):
        result = fork.enqueue(how)
        print("back", result.return_value, result.task is fork, flush=True)
"""


def test_a_copy_does_not_come_back_from_an_immediate_backend():
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(
        [sys.executable, "-c", IMMEDIATE], env=env, cwd=ROOT, check=True, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["finished True", "back 0 True", "finished True", "back 1 True"]
    assert done.stderr.count("ValueError: a copy") == 1


@on_one_database
def test_a_signal_right_after_a_fork_ends_the_process(attempts):
    results = [task.enqueue(100) for task in (tasks.end_forked_in_process, tasks.end_forked_in_thread)]
    attempts.run("runworker", "--batch", "--processes", "1", "--threads", "1", timeout=30)
    for result in results:
        result.refresh()
    assert [result.return_value for result in results] == [0, 0]
