"""What developers start in a terminal, and what Ctrl-C there does to it."""

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_tasks_q.models import Job, Worker

from .conftest import on_one_database
from .project import MANAGE, ROOT, wait_for
from .tasksapp import tasks
from .test_worker import finished, job, outcomes

CTRL_C = b"\x03"
STOPS = "s for running jobs."
ONE = ("--processes", "1")


class Terminal:
    """A terminal in which one command runs in the foreground."""

    def __init__(self, project, *arguments):
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, MANAGE, *arguments],
            env=project.env,
            cwd=project.directory,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._output = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with suppress(OSError):  # which is how the end of a terminal looks
            while data := os.read(self.ours, 4096):
                self._output += data

    @property
    def output(self):
        return self._output.decode(errors="replace")

    def press(self, keys):
        os.write(self.ours, keys)

    def wait(self):
        return self.process.wait(40)

    @property
    def descendants(self):
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def close(self):
        for process in (
            [*self.descendants, psutil.Process(self.process.pid)] if self.process.poll() is None else []
        ):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)
        self._reader.join(10)
        os.close(self.ours)


@contextmanager
def terminal(project, *arguments):
    opened = Terminal(project, *arguments)
    try:
        yield opened
    finally:
        opened.close()
        print(f"--- {' '.join(arguments)}\n{opened.output}")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def write_site(project, answer):
    """Write the URLs and the tasks of a site. The size differs between answers, so that all of it is read."""
    (project.directory / "site_of_test.py").write_text(
        "from django.http import HttpResponse\nfrom django.urls import path\n"
        "from django_tasks_q import task\n"
        f"urlpatterns = [path('', lambda request: HttpResponse({answer!r}))]\n"
        f"@task(name='answer')\ndef answer(): return {answer!r}\n"
    )


@pytest.fixture
def site(project):
    write_site(project, "one")
    (project.directory / "settings_of_test.py").write_text(
        "from tests.worker_settings import *\nDEBUG = True\nROOT_URLCONF = 'site_of_test'\n"
        "MIDDLEWARE = []\nWSGI_APPLICATION = None\n"
        "TASKS['default']['OPTIONS'] |= {'TASK_MODULES': ['site_of_test']}\n"
    )
    project.env |= {
        "DJANGO_SETTINGS_MODULE": "settings_of_test",
        "PYTHONPATH": os.pathsep.join([str(project.directory), str(ROOT)]),
    }
    return project


def answer_of(port):
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
        return response.read().decode()


def answer_of_task():
    made = Job(task_name="answer", queue_name="default", backend="default", arguments="[[],{}]")
    made.enqueued_at = timezone.now()
    made.save(force_insert=True)
    wait_for(lambda: Job.objects.get(id=made.id).is_finished, 40)
    return Job.objects.get(id=made.id).return_value


COMMANDS = {
    "runworker": ("runworker", "--reload", "--shutdown-timeout", "600", *ONE),
    "dev --noreload": ("tasks", "dev", "PORT", "--noreload", *ONE),
}


def with_port(command):
    return [str(free_port()) if word == "PORT" else word for word in command]


@on_one_database
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_one_ctrl_c_waits_for_running_jobs_and_a_second_does_not(site, tmp_path, command):
    marks = [tmp_path / "first", tmp_path / "second"]
    go = tmp_path / "go"
    patient = tasks.wait_for_file.enqueue(str(go), str(marks[0]))
    with terminal(site, *with_port(command)) as opened:
        wait_for(marks[0].exists, 40)
        opened.press(CTRL_C)
        # A worker that is stopping claims nothing.
        wait_for(lambda: STOPS in opened.output)
        with pytest.raises(subprocess.TimeoutExpired):  # nothing else asks it to stop, and it is waited for
            opened.process.wait(1)
        go.touch()
        finished(site, patient)
        assert opened.wait() == 0
        assert opened.descendants == []
    assert (job(patient).status, outcomes(patient)) == ("SUCCESSFUL", [])
    assert Worker.objects.get().stopped_at is not None
    if "dev" in command:
        return  # it has the same code
    hurried = tasks.wait_for_file.enqueue(str(tmp_path / "never"), str(marks[1]))
    with terminal(site, *with_port(command)) as opened:
        wait_for(marks[1].exists, 40)
        opened.press(CTRL_C)
        wait_for(lambda: STOPS in opened.output)
        opened.press(CTRL_C)
        assert opened.wait() == 0
    assert (job(hurried).status, outcomes(hurried)) == ("READY", ["released"])


@on_one_database
def test_a_server_and_a_worker_start_again_when_code_changes(site, tmp_path):
    port = free_port()
    mark, go = tmp_path / "mark", tmp_path / "go"
    with terminal(site, "tasks", "dev", str(port), *ONE) as opened:
        wait_for(lambda: answer_of(port) == "one", 40)
        assert answer_of_task() == "one"
        running = tasks.wait_for_file.enqueue(str(go), str(mark))
        wait_for(mark.exists)
        (site.directory / "site_of_test.py").write_text("def (")
        wait_for(
            lambda: "tried again when a file changes" in opened.output or "SyntaxError" in opened.output, 40
        )
        write_site(site, "number two")
        wait_for(lambda: answer_of(port) == "number two", 40)
        assert answer_of_task() == "number two"
        go.touch()  # the worker of before still has it
        finished(site, running)
        assert (job(running).status, outcomes(running)) == ("SUCCESSFUL", [])
        opened.process.send_signal(signal.SIGTERM)
        assert opened.wait() == 0
        assert opened.descendants == []
    assert not Worker.objects.filter(stopped_at__isnull=True).exists()


@on_one_database
def test_what_cannot_start_says_so(site):
    with terminal(site, "tasks", "dev", str(free_port()), "--queue", "a,b") as opened:
        wait_for(lambda: "The worker has ended with status 1" in opened.output, 40)
        opened.press(CTRL_C)
        assert opened.wait() == 0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with terminal(site, "tasks", "dev", str(listening.getsockname()[1]), *ONE) as opened:
            assert opened.wait() == 1
        assert "port is already in use" in opened.output


@pytest.mark.once
def test_a_reloader_does_not_end_with_its_input():
    with pytest.raises(CommandError, match="cannot be combined"):
        call_command("runworker", "--reload", "--stop-at-end-of-input")
