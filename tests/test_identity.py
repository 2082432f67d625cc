"""What workers are called, and what results show of themselves."""

import os
import socket

import pytest

from django_tasks_q import task
from django_tasks_q.events import Events
from django_tasks_q.models import Job, Queue, Schedule, Worker
from django_tasks_q.storage import storage_for
from django_tasks_q.testing import run_jobs
from django_tasks_q.worker.config import WorkerConfig
from django_tasks_q.worker.identity import default_name
from django_tasks_q.worker.lease import Lease

from . import pages
from .conftest import on_one_database
from .pages import DOCS
from .tasksapp import tasks


@pytest.mark.parametrize(
    ("host", "stored"),
    [("plain", "plain"), ("caf\udce9", "caf\\udce9"), ("a\x00b\nc", "a\\x00b\\nc"), ("h" * 300, "h" * 255)],
)
def test_any_host_name_is_stored(storage_alias, monkeypatch, host, stored):
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    config = WorkerConfig(backend="default", database=storage_alias, name=default_name())
    Lease(storage_for(storage_alias), config, 60, Events()).take()
    worker = Worker.objects.using(storage_alias).get()
    assert worker.hostname == stored
    assert worker.name == f"{stored[: 254 - len(str(os.getpid()))]}-{os.getpid()}"


@on_one_database
@pytest.mark.parametrize("name", ["w" * 300, "a\nb", "caf\udce9"])
def test_an_unusable_worker_name_is_one_line(project, name):
    done = project.run("runworker", "--batch", "--worker-name", name, check=False)
    assert done.returncode == 1
    assert "--worker-name must be 1 to 255 printable characters" in done.stderr
    assert "Traceback" not in done.stderr


@task(name="test_identity.secretive", sensitive=["pin"])
def secretive(pin, token="", order=0):
    if order < 0:
        raise ValueError(f"no order for {pin}")
    return {"password": pin, "order": order}


@pytest.mark.parametrize("order", [7, -7])
def test_a_result_does_not_show_secrets(storage_alias, order):
    sent = secretive.bind("12345678", token="tttttttt", order=order)
    result = sent.enqueue()
    assert result.args == ["12345678"]
    run_jobs()
    for shown in (sent, result, secretive.get_result(result.id)):
        text = repr(shown)
        assert "12345678" not in text
        assert "tttttttt" not in text
        assert f"'order': {order}" in text
        assert "test_identity.secretive" in text
    result.refresh()
    assert "12345678" not in repr(result)
    assert repr(result).startswith(f"TaskResult(task='test_identity.secretive', id='{result.id}', status=")


def test_jobs_of_a_renamed_alias_are_moved_as_the_page_says(storage_alias, settings):
    default = settings.TASKS["default"]
    settings.TASKS = {"default": default, "former": default}
    ready = tasks.add.using(backend="former").enqueue(1, 2)
    Queue.objects.using(storage_alias).create(backend="former", name="mail", max_running=2)
    settings.TASKS = {"default": default}
    assert run_jobs() == []
    *_, code = pages.blocks((DOCS / "how-to" / "switch-backends.md").read_text(), "python")
    assert "former" in code
    exec(code.replace("model.objects", f"model.objects.using({storage_alias!r})"), {})
    assert [ran.id for ran in run_jobs()] == [ready.id]
    assert Queue.objects.using(storage_alias).get().backend == "default"
    for model in (Job, Schedule):
        assert not model.objects.using(storage_alias).filter(backend="former").exists()
