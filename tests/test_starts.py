"""Workers that cannot go on as they should: only what a job did itself counts against it."""

import json
import os
import resource
import socket
from contextlib import ExitStack

import pytest

from django_tasks_q.models import Job, Worker
from django_tasks_q.worker.children import fork_server, protocol
from django_tasks_q.worker.children.fork_server import ForkServer, ServerGone, _Server
from django_tasks_q.worker.children.protocol import Channel

from .conftest import on_one_database
from .tasksapp import tasks
from .test_worker import finished, job, outcomes

STARTS = "django_tasks_q.worker.starts"


def hardship(project, *apps, **wanted):
    project.env["EXTRA_APPS"] = json.dumps(["tests.hardship", *apps])
    project.env["HARDSHIP"] = json.dumps(wanted)


def uncounted(result):
    row = job(result)
    return (row.status, row.attempts, row.crashes) == ("READY", 0, 0)


# Executors that cannot start


@on_one_database
def test_an_executor_that_cannot_start_harms_nothing_else_and_is_tried_again(project, tmp_path):
    hardship(project, constants={f"{STARTS}.PAUSE": 0.01, f"{STARTS}.LONGEST_PAUSE": 0.1})
    mood, go = tmp_path / "mood", tmp_path / "go"
    project.env["MOOD"] = str(mood)
    marks = [tmp_path / f"mark{number}" for number in range(2)]
    healthy = [tasks.wait_for_file.using(max_attempts=1).enqueue(str(go), str(mark)) for mark in marks]
    with project.worker("--processes", "3") as worker:
        project.wait_for(lambda: all(mark.exists() for mark in marks))
        moody = tasks.run_in_a_mood.enqueue()
        project.wait_for(lambda: "its jobs are left to other workers" in worker.output)
        project.wait_for(lambda: uncounted(moody))
        finished(project, tasks.noop.enqueue())
        assert [job(result).status for result in healthy] == ["RUNNING", "RUNNING"]
        tries = worker.output.count("not in the mood")
        project.wait_for(lambda: worker.output.count("RuntimeError: not in the mood") > tries + 1)
        assert uncounted(moody)  # and no worker has claimed it for that
        mood.touch()
        assert finished(project, moody).return_value == "in the mood"
        go.touch()
        finished(project, *healthy)
        assert worker.stop() == 0
        assert worker.output.count("its jobs are left to other workers") == 1
        assert worker.output.count("can be started again") == 1
    assert [outcomes(result) for result in (*healthy, moody)[:2]] == [[], []]
    assert {job(result).crashes for result in (*healthy, moody)} == {0}


@on_one_database
def test_a_worker_that_can_start_nothing_at_all_ends_in_one_line(project, tmp_path):
    hardship(project, constants={f"{STARTS}.PAUSE": 0.01}, executor="tests.tasksapp.executors.Moody")
    project.env["MOOD"] = str(tmp_path / "never")
    results = [tasks.noop.enqueue(), tasks.add.enqueue(1)]
    done = project.run("runworker", "--processes", "1", check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("5 child processes in a row died while they started.")
    assert all(map(uncounted, results))
    assert Worker.objects.get().stopped_at is not None


# Too little of what the system gives


@on_one_database
@pytest.mark.parametrize("descriptors", [12, 16, 24, 36, 48])
def test_a_child_that_cannot_be_had_is_one_child_fewer(project, descriptors):
    hardship(project, descriptors=descriptors)
    for _ in range(12):
        tasks.sleep.using(max_attempts=1).enqueue(0.05)
    done = project.run("runworker", "--batch", "--processes", "12", check=False)
    assert "Traceback" not in done.stderr
    rows = list(Job.objects.values_list("status", "attempts", "crashes"))
    if done.returncode == 0:
        assert rows == [("SUCCESSFUL", 1, 0)] * 12
        assert done.stderr.count("could not be started") == 1
        assert "Too many open files" in done.stderr
    else:  # not even one child
        assert rows == [("READY", 0, 0)] * 12
        assert "Too many open files" in done.stderr


@pytest.mark.once
def test_a_child_that_cannot_be_started_costs_no_descriptor(monkeypatch):
    ours, theirs = socket.socketpair()
    server = ForkServer.__new__(ForkServer)
    server.channel = Channel(ours, blocking=False)

    def opened():
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208

    monkeypatch.setattr(fork_server, "SPARE", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as fillers:
        # No gap is left below the highest descriptor, which is the first that may not be had.
        highest = max(map(int, opened()))
        while (fd := os.dup(0)) < highest:
            fillers.callback(os.close, fd)
        os.close(fd)
        before, failed = opened(), 0
        try:
            for spare in range(8):
                resource.setrlimit(resource.RLIMIT_NOFILE, (fd + spare, hard))
                try:
                    pipes = server.spawn(1, {})
                except OSError:
                    failed += 1
                else:
                    pipes.sock.close()
                    pipes.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert 0 < failed < 8
        assert opened() == before
        theirs.close()
        with pytest.raises(ServerGone):
            server.spawn(1, {})
        assert len(opened()) == len(before) - 1
        ours.close()


@pytest.mark.once
def test_a_server_that_was_sent_too_few_descriptors_says_so_and_keeps_none():
    ours, theirs = socket.socketpair()
    server = _Server(theirs, lambda pipes, config: None, os.getppid())
    server.channel = Channel(theirs, blocking=True)
    reader, writer = os.pipe()
    server._fork(7, {}, [reader, writer])
    ((kind, body),) = Channel(ours, blocking=False).receive()
    assert kind == protocol.EXITED
    assert json.loads(body)[::3] == [7, "[Errno 24] Too many open files"]
    for fd in (reader, writer):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    ours.close()
    theirs.close()


# Unexpected ends


@on_one_database
@pytest.mark.parametrize("step", ["claim.committed", "heartbeat.sending"])
def test_a_worker_that_breaks_off_gives_back_what_it_had_uncounted(project, tmp_path, step):
    """Whatever it was in the middle of."""
    hardship(project, "tests.faults")
    go, mark = tmp_path / "go", tmp_path / "mark"
    # The second claim, or a heartbeat with something at stake.
    fault = f"{step}=raise@{2 if step == 'claim.committed' else 1}"
    project.env |= {"FAILPOINTS": fault, "FAILPOINT_MARKS": str(tmp_path)}
    project.env["TASKS_OPTIONS"] = json.dumps({"LEASE": 3})
    running = tasks.wait_for_file.enqueue(str(go), str(mark))
    thread = tasks.wait_in_thread.enqueue(str(go), str(tmp_path / "thread"))
    with project.worker("--processes", "1", "--threads", "1") as worker:
        project.wait_for(lambda: mark.exists() or worker.process.poll() is not None)
        more = [tasks.noop.enqueue() for _ in range(3)]
        assert worker.process.wait(20) == 1
        assert worker.descendants() == set()
    for result in (running, thread, *more):
        assert uncounted(result), outcomes(result)
    assert Worker.objects.get().stopped_at is not None
