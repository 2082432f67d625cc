"""What workers are called, and what results show of themselves."""

import json
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


def leased(alias, name):
    lease = Lease(
        storage_for(alias), WorkerConfig(backend="default", database=alias, name=name), 60, Events()
    )
    lease.take()
    return lease


def test_workers_of_one_name_are_told_apart_and_warned_about(project, caplog):
    alias = project.alias
    stopped = leased(alias, "web")
    stopped.give_up()
    first, other = leased(alias, "web"), leased(alias, "another")
    assert caplog.text == ""
    second = leased(alias, "web")
    (record,) = caplog.records
    assert f"This worker, id={second.id}, has the name 'web' of other workers" in record.getMessage()
    assert f"id={first.id} (process {os.getpid()} on" in record.getMessage()
    assert not any(str(lease.id) in record.getMessage() for lease in (stopped, other))
    ids = ", ".join(sorted([str(first.id), str(second.id)]))
    warning = f"2 workers that are alive have the name 'web': {ids}. Give each another --worker-name"
    health = project.run("tasks", "health").stdout
    assert health == f"well: workers are alive; {warning}\n"  # and status 0
    assert warning in project.run("tasks", "workers").stdout
    second.give_up()
    assert json.loads(project.run("tasks", "health", "--json").stdout) == {
        "well": True,
        "why": [],
        "warnings": [],
    }
