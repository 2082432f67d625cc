"""What children run before they end, and who is informed of that."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .conftest import on_one_database
from .stopping import tasks
from .test_worker import finished


@pytest.fixture
def ending(project, tmp_path):
    project.env |= {"EXTRA_APPS": '["tests.stopping", "tests.hardship"]', "NOTE": str(tmp_path / "heard")}
    return project


@pytest.fixture
def heard(tmp_path):
    path = tmp_path / "heard"
    return lambda: path.read_text().splitlines() if path.exists() else []


@on_one_database
def test_a_child_runs_what_it_has_registered_for_its_end(ending, heard):
    ending.env["LISTEN"] = "note_ends"
    results = [
        task.enqueue(task.func.__name__) for task in (tasks.end_process, tasks.end_thread, tasks.end_loop)
    ]
    with ending.worker("--batch", "--worker-name", "one") as worker:
        assert worker.process.wait(30) == 0
    finished(ending, *results)
    lines = heard()
    for result, executor in zip(results, ("InProcess", "InThread", "InLoop"), strict=True):
        (name,) = result.args
        assert not Path(result.return_value).exists()
        (start,) = (line for line in lines if line.startswith(f"start {executor}"))
        pid = start.split()[-1]
        of_child = [
            f"start {executor} {pid}",
            f"child_started {executor} {executor} default 36 {pid}",
            f"child_stopping {executor} {executor} default 36 {pid}",
            f"stop {executor} {pid}",
            f"thread {name}",
            f"atexit {name}",
            f"finalizer {name}",
        ]
        assert [line for line in lines if pid in line.split() or name in line.split()] == of_child
    ends = [
        f"{when} DatabaseBackend one default {worker.pid}" for when in ("worker_started", "worker_stopped")
    ]
    assert [lines[0], *lines[-2:]] == [*ends, f"inherited {worker.pid}"]
    assert Counter(line.split()[0] for line in lines)["inherited"] == 1


@on_one_database
def test_an_exit_function_that_hangs_is_left_behind(ending):
    ending.env["HARDSHIP"] = json.dumps(
        {"constants": {"django_tasks_q.worker.children.exits.EXIT_TIMEOUT": 0.3}}
    )
    tasks.never_exit.enqueue()
    done = ending.run("runworker", "--batch", "--processes", "1", timeout=20)
    assert "A child process ends, since its exit functions took longer than 0.3 s." in done.stderr


@on_one_database
def test_what_a_job_prints_is_in_the_log_when_it_has_finished(ending):
    del ending.env["PYTHONUNBUFFERED"]
    with ending.worker("--processes", "1") as worker:
        for task in (tasks.say, tasks.say_in_thread, tasks.say_in_loop):
            finished(ending, task.enqueue(f"said by {task.func.__name__}"))
            assert f"said by {task.func.__name__}\n" in worker.output


@on_one_database
def test_spans_of_opentelemetry_are_exported(ending, heard):
    pytest.importorskip("opentelemetry.sdk")
    ending.env["LISTEN"] = "trace"
    for task in (tasks.span, tasks.span_in_thread, tasks.span_in_loop):
        for number in range(4):
            task.enqueue(f"{task.func.__name__}-{number}")
    ending.run("runworker", "--batch", "--processes", "2")
    assert len([line for line in heard() if line.startswith("span ")]) == 12


@on_one_database
def test_events_of_sentry_are_sent(ending):
    received = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            threading.Event().wait(0.2)  # as slow as a distant server
            received.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ending.env |= {"LISTEN": "watch", "SENTRY": f"http://key@127.0.0.1:{server.server_port}/1"}
        for number in range(6):
            tasks.report.enqueue(f"event {number}")
        ending.run("runworker", "--batch", "--processes", "1")
        server.shutdown()
    assert len(received) == 6
