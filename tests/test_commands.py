"""The commands beside the worker."""

import json
import os
import shlex
import subprocess
import sys
import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command, load_command_class
from django.db import OperationalError
from django.utils import timezone

from django_tasks_q import task
from django_tasks_q.api.serializers import JobSerializer
from django_tasks_q.definition.registry import registry
from django_tasks_q.management import actions, health
from django_tasks_q.models import Job, Progress, Queue, Statistic, Worker
from django_tasks_q.worker.heartbeat_file import HeartbeatFile

from .admin_support import make_failed, make_job, make_worker
from .conftest import on_one_database
from .project import MANAGE
from .test_storage import add


def output(capsys, *args, **options):
    call_command(*args, **options)
    return capsys.readouterr().out


def test_the_tasks_are_listed_and_shown(capsys):
    lines = output(capsys, "tasks").splitlines()
    assert lines == output(capsys, "tasks", "list").splitlines()
    assert lines[0].split() == ["TASK", "QUEUE", "RUNS", "IN", "ATTEMPTS", "DESCRIPTION"]
    assert len(lines) == len(registry) + 1
    (named,) = (line for line in lines if line.startswith("named.task "))
    assert named.split() == ["named.task", "named", "process", "1"]
    shown = output(capsys, "tasks", "show", "named.task")
    facts = {line.split()[0]: line.split(maxsplit=1)[-1] for line in shown.splitlines()}
    assert facts["function"] == "tests.tasksapp.tasks.named"
    assert facts["signature"] == "() -> 'str'" or facts["signature"] == "() -> str"
    assert facts["priority"] == "7"
    assert "tasksapp/tasks.py:" in facts["source"]


def test_programs_read_json(capsys):
    listed = json.loads(output(capsys, "tasks", "list", "--json"))
    assert {facts["name"] for facts in listed} == {task.name for task in registry}
    shown = json.loads(output(capsys, "tasks", "show", "tests.tasksapp.tasks.fail_with", "--json"))
    assert shown["retry_on"] == ["builtins.ConnectionError"]
    assert shown["max_attempts"] == 5
    assert shown["backoff"] == [0.0]
    assert shown["timeout"] == 1800.0  # as the settings have it
    assert shown["on_lost"] == "retry"


def test_what_routes_give_is_shown(capsys, settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"ROUTES": {"named.*": {"timeout": 7, "priority": 1}}}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    shown = json.loads(output(capsys, "tasks", "show", "named.task", "--json"))
    assert (shown["timeout"], shown["priority"]) == (7.0, 7)


def test_tasks_are_chosen_by_their_tags(capsys):
    assert len(output(capsys, "tasks", "list", "--tag", "nobody has it").splitlines()) == 1


def test_a_task_that_is_not_there_is_one_line(capsys):
    with pytest.raises(CommandError, match=r"No task is named 'named\.tsak'. Did you mean 'named\.task'"):
        call_command("tasks", "show", "named.tsak")


def test_a_prune_deletes_all_that_is_old(storage_alias, capsys, settings):
    from django_tasks_q.storage import storage_for

    storage = storage_for(storage_alias)
    old = timezone.now() - timedelta(days=60)
    for _ in range(3):
        add(storage, status="SUCCESSFUL", finished_at=old)
    add(storage, status="SUCCESSFUL", finished_at=timezone.now())
    add(storage, status="READY")
    assert output(capsys, "prune_tasks") == "default: 3 jobs deleted, or their results cleared.\n"
    assert output(capsys, "prune_tasks", verbosity=0) == ""
    assert Job.objects.using(storage_alias).count() == 2


def test_a_prune_of_nothing_that_stores_is_one_line(settings):
    with pytest.raises(CommandError, match="nowhere"):
        call_command("prune_tasks", "--backend", "nowhere")
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.ImmediateBackend"}}
    with pytest.raises(CommandError, match="no backend that stores jobs"):
        call_command("prune_tasks")
    with pytest.raises(CommandError, match="which stores no jobs"):
        call_command("prune_tasks", "--backend", "default")


# Jobs, queues and workers


def ended(capsys, *args):
    """The exit status of a command, and what it wrote."""
    status = 0
    try:
        call_command(*args)
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().out


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--task", "named.tsak"], r"no task 'named\.tsak' in the code, and .* Did you mean 'named\.task'"),
        (["--queue", "nmaed"], r"no queue 'nmaed' in the code or the settings, .* Did you mean 'named'"),
        (["--backend", "defualt"], r"no backend 'defualt' in TASKS, .* Did you mean 'default'"),
    ],
)
@pytest.mark.parametrize("verb", [["jobs"], ["cancel", "--all"], ["retry"]], ids=lambda verb: verb[0])
def test_a_filter_by_an_unknown_name_finds_nothing_in_silence(verb, flags, says):
    with pytest.raises(CommandError, match=says):
        call_command("tasks", *verb, *flags)


@pytest.mark.django_db
def test_jobs_are_listed_and_one_is_shown(capsys):
    failed = make_failed(task_name="a.task", arguments='[[1],{"password":"hunter2"}]', queue_name="mail")
    make_job(task_name="b.task", tags='["blue"]')
    assert len(output(capsys, "tasks", "jobs").splitlines()) == 3
    for chosen in (["--status", "failed"], ["--task", "a.task"], ["--queue", "mail"]):
        (found,) = json.loads(output(capsys, "tasks", "jobs", *chosen, "--since", "1h", "--json"))
        assert found["id"] == str(failed.pk)
    assert [
        row["task"] for row in json.loads(output(capsys, "tasks", "jobs", "--tag", "blue", "--json"))
    ] == ["b.task"]
    shown = json.loads(output(capsys, "tasks", "show", str(failed.pk), "--json"))
    assert (shown["status"], shown["kwargs"]) == ("FAILED", {"password": "********"})
    assert shown["attempt_records"][0]["exception"] == "builtins.ValueError"
    assert "hunter2" not in output(capsys, "tasks", "show", str(failed.pk))
    with pytest.raises(CommandError, match="No job has the id"):
        call_command("tasks", "show", str(uuid.uuid4()))


@pytest.mark.django_db
def test_terminals_are_not_obeyed(capsys):
    make_job(task_name="a\x1b[2Jtask\nb")
    shown = output(capsys, "tasks", "jobs")
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 2


@pytest.mark.django_db
def test_jobs_are_retried_cancelled_and_discarded(capsys):
    ids = [make_failed(task_name="a.task").pk for _ in range(3)]
    waiting, running = make_job(), make_job(status="RUNNING", fence=1)
    answer = json.loads(output(capsys, "tasks", "retry", str(ids[0]), str(running.pk), "--json"))
    assert (answer["done"], answer["skipped"]) == ([str(ids[0])], {"running": [str(running.pk)]})
    shown = output(capsys, "tasks", "retry", "--status", "failed", "--task", "a.task", "--limit", "1")
    assert shown == "retry: 1 done, there are more.\n"
    assert ended(capsys, "tasks", "retry", str(running.pk))[0] == 1
    output(capsys, "tasks", "retry", str(ids[2]), "--at", "2h")
    assert Job.objects.get(pk=ids[2]).status == "SCHEDULED"
    assert output(capsys, "tasks", "discard", str(waiting.pk), "--reason", "old") == "discard: 1 done.\n"
    assert Job.objects.get(pk=waiting.pk).cancel_reason == "old"
    assert "1 asked to end" in output(capsys, "tasks", "cancel", "--status", "running")
    for more in ((), ("--all",)):  # those that were asked are not found again
        assert ended(capsys, "tasks", "cancel", "--status", "running", *more)[0] == 1


@pytest.mark.django_db
def test_all_that_filters_find_are_retried_slice_by_slice(capsys, monkeypatch):
    monkeypatch.setattr(actions, "SLICE", 2)
    for _ in range(5):
        make_failed(task_name="a.task")
    make_failed(task_name="b.task")
    later = make_failed(task_name="a.task", finished_at=timezone.now() + timedelta(minutes=1))
    wanted = ("tasks", "retry", "--status", "failed", "--task", "a.task", "--limit", "1", "--all")
    assert output(capsys, *wanted) == "retry: 5 done.\n"
    assert ended(capsys, *wanted)[0] == 1
    assert set(Job.objects.filter(status="FAILED").values_list("task_name", flat=True)) == {
        "a.task",
        "b.task",
    }
    assert Job.objects.get(pk=later.pk).status == "FAILED"


@pytest.mark.django_db
@pytest.mark.parametrize("more", [("--limit", "2"), ("--all",)])
def test_jobs_that_a_verb_cannot_change_keep_it_from_no_others(capsys, more):
    for _ in range(3):
        make_job(status="SUCCESSFUL", queue_name="mail")
    waiting = {make_job(queue_name="mail").pk, make_job(status="SCHEDULED", queue_name="mail").pk}
    assert output(capsys, "tasks", "cancel", "--queue", "mail", *more) == "cancel: 2 done.\n"
    assert set(Job.objects.filter(status="CANCELLED").values_list("pk", flat=True)) == waiting


@pytest.mark.django_db
def test_all_jobs_are_found_in_small_slices_however_rare_they_are(capsys, monkeypatch):
    monkeypatch.setattr(actions, "SLICE", 2)
    monkeypatch.setattr(import_module("django_tasks_q.actions.matching"), "REACH", 3)
    for number in range(20):
        make_job(task_name="rare" if number % 7 == 6 else "frequent", priority=number % 3)
    assert output(capsys, "tasks", "cancel", "--all", "--task", "rare") == "cancel: 2 done.\n"
    assert Job.objects.filter(status="READY").count() == 18


@pytest.mark.django_db
@pytest.mark.parametrize(
    "args",
    [
        ["retry"],
        ["retry", "x"],
        ["cancel", str(uuid.uuid4()), "--status", "failed"],
        ["retry", "--status", "failed", "--limit", "0"],
        ["retry", "--all"],
        ["retry", "--all", "--status", "failed", "01a20525-c044-7690-88ea-b7513f137769"],
        ["retry", "--status", "failed", "--at", "soon"],
        ["jobs", "--since", "yesterday"],
        ["jobs", "--limit", "0"],
        ["jobs", "--status", "nonsense"],
        ["pause", "a\nb"],
        ["pause", "named", "--until", "2001-01-01T00:00"],
        ["pause", "nosuchqueue"],
        ["pause", "named", "--backend", "nowhere"],
        ["resume", "nosuchqueue"],
        ["limit", "nosuchqueue", "3"],
        ["limit", "named", "0"],
        ["limit", "named", "many"],
        ["limit", "named", "-2"],
        ["jobs", "--queue", "named,default"],
        ["cancel", "--queue", "named,default"],
        ["enqueue", "nosuchtask"],
        ["enqueue", "tests.tasksapp.tasks.add"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "7"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "[7"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "[NaN]"],
        ["enqueue", "tests.tasksapp.tasks.add", "--kwargs", "[1]"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "[7]", "--priority", "101"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "[7]", "--at", "soon"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "[7]", "--backend", "nowhere"],
        ["enqueue", "tests.tasksapp.tasks.add", "--args", "[7]", "--metadata", "7"],
    ],
)
def test_bad_arguments_are_one_line(args):
    with pytest.raises(CommandError) as error:
        call_command("tasks", *args)
    assert "\n" not in str(error.value)


@pytest.mark.django_db
def test_queues_are_paused_and_resumed(capsys):
    output(capsys, "tasks", "pause", "named", "--reason", "broken", "--until", "2h")
    row = Queue.objects.get()
    assert (row.is_paused, row.pause_reason, "shell" in row.paused_by) == (True, "broken", True)
    assert json.loads(output(capsys, "tasks", "pause", "named", "--json"))["news"] is False
    (queue,) = json.loads(output(capsys, "tasks", "stats", "--json"))["queues"]
    assert (queue["queue"], queue["paused"]) == ("named", True)
    assert "is resumed" in output(capsys, "tasks", "resume", "named")
    assert "was not paused" in output(capsys, "tasks", "resume", "named")


@pytest.mark.django_db
def test_a_queue_that_nothing_knows_is_paused_on_second_thoughts_only(capsys):
    with pytest.raises(CommandError, match=r"knows a queue 'nmaed'\. Did you mean 'named'\? .*--force"):
        call_command("tasks", "pause", "nmaed")
    assert not Queue.objects.exists()
    assert "is paused" in output(capsys, "tasks", "pause", "nmaed", "--force")
    assert "is resumed" in output(capsys, "tasks", "resume", "nmaed")  # it is known by now
    make_job(queue_name="of a job")
    assert "is paused" in output(capsys, "tasks", "pause", "of a job")


@pytest.mark.django_db
def test_queues_are_limited(capsys):
    assert output(capsys, "tasks", "limit", "named", "3") == "Queue 'named' runs at most 3 jobs at a time.\n"
    assert Queue.objects.get().max_running == 3
    assert "ran at most 3 jobs at a time already" in output(capsys, "tasks", "limit", "named", "3")
    shown = json.loads(output(capsys, "tasks", "limit", "named", "None", "--json"))
    assert shown == {"queue": "named", "backend": "default", "max_running": None, "news": True}
    assert not Queue.objects.exclude(max_running=None).exists()


@pytest.mark.django_db
def test_a_job_is_enqueued(capsys):
    name = "tests.tasksapp.tasks.add"
    id = output(capsys, "tasks", "enqueue", name, "--args", "[2]", "--kwargs", '{"b": 3}').strip()
    job = Job.objects.get(pk=id)
    assert (job.task_name, job.args, job.kwargs, job.status) == (name, [2], {"b": 3}, "READY")
    flags = ["--queue", "named", "--priority", "0", "--at", "2h", "--expires", "3h", "--max-attempts", "4"]
    flags += ["--timeout", "2.5", "--tag", "a", "--tag", "b", "--metadata", '{"c": 1}']
    shown = json.loads(output(capsys, "tasks", "enqueue", name, "--args", "[2]", *flags, "--json"))
    job = Job.objects.get(pk=shown["id"])
    assert (job.queue_name, job.priority, job.status) == ("named", 0, "SCHEDULED")
    assert (job.max_attempts, job.timeout) == (4, 2.5)
    assert (json.loads(job.tags), json.loads(job.metadata)) == (["a", "b"], {"c": 1})
    assert job.expires_at > job.run_after


@task(name="test_commands.typed")
def typed(when: datetime, price: Decimal, raw: bytes, who: User | None = None): ...


@pytest.mark.django_db
def test_arguments_are_given_as_they_are_stored(capsys):
    user = User.objects.create(username="somebody")
    given = ["2026-01-02T03:04:05Z", "9.90", "AAE=", user.pk]
    id = output(capsys, "tasks", "enqueue", "test_commands.typed", "--args", json.dumps(given)).strip()
    assert Job.objects.get(pk=id).args == given
    for wrong in (["soon", "9.90", "AAE="], [*given[:3], user.pk + 1], [given[0], "x", "AAE="]):
        with pytest.raises(CommandError):
            call_command("tasks", "enqueue", "test_commands.typed", "--args", json.dumps(wrong))


@pytest.mark.django_db
def test_all_that_is_known_of_a_job_is_shown(capsys):
    job = make_job(
        status="CANCELLED",
        cancel_reason="why not",
        cancel_requested_at=timezone.now(),
        tags='["a","b"]',
        metadata='{"order":7,"token":"hunter2"}',
    )
    Progress.objects.create(
        job=job,
        fence=1,
        current=3,
        total=4,
        message="near",
        value='{"secret":"hunter2"}',
        updated_at=timezone.now(),
    )
    shown = json.loads(output(capsys, "tasks", "show", str(job.pk), "--json"))
    assert (shown["cancel_reason"], shown["tags"]) == ("why not", ["a", "b"])
    assert shown["metadata"] == {"order": 7, "token": "********"}
    progress = {key: shown["progress"][key] for key in ("current", "total", "message", "value")}
    assert progress == {"current": 3, "total": 4, "message": "near", "value": {"secret": "********"}}
    text = output(capsys, "tasks", "show", str(job.pk))
    assert "why not" in text
    assert "hunter2" not in text
    # The command shows all columns that the REST API shows.
    words = {"duration": "seconds"}
    left_out = {"last_attempted_at"}  # it is with the attempts
    assert {words.get(name, name) for name in JobSerializer.Meta.fields} - left_out <= shown.keys()


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["FAILED", "failed", "Failed"])
def test_a_status_is_given_as_it_is_printed(capsys, status):
    make_failed(), make_job()
    assert len(json.loads(output(capsys, "tasks", "jobs", "--status", status, "--json"))) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "flags", [["-v", "2"], ["--no-color"], ["--traceback"], ["--force-color"], ["--skip-checks"]]
)
def test_flags_of_all_commands_may_stand_behind_the_verb(capsys, flags):
    assert output(capsys, "tasks", "jobs", *flags) == output(capsys, "tasks", *flags, "jobs")
    parser = load_command_class("django_tasks_q", "tasks").create_parser("manage.py", "tasks")
    assert parser.parse_args(["-v", "0", "jobs"]).verbosity == 0
    assert parser.parse_args(["jobs", "-v", "2"]).verbosity == 2
    assert parser.parse_args(["jobs"]).verbosity == 1


@on_one_database
@pytest.mark.parametrize("rows", [1, 400], ids=["short", "long"])
def test_a_reader_may_stop_before_the_end(project, rows):
    for _ in range(rows):
        make_job(task_name="x" * 200)
    program = f"{shlex.quote(sys.executable)} {shlex.quote(MANAGE)} tasks jobs --limit 1000"
    done = subprocess.run(
        ["bash", "-c", f"{program} | true; echo ${{PIPESTATUS[0]}}"],
        env=project.env,
        cwd=project.directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == ("141", "")


@pytest.mark.django_db
def test_statistics_and_workers_are_shown(capsys):
    make_failed(), make_job(queue_name="mail")
    Statistic.objects.create(
        backend="default",
        moment=timezone.now(),
        queue_name="mail",
        task_name="a.task",
        successful=4,
        took_3=4,
    )
    shown = json.loads(output(capsys, "tasks", "stats", "--json"))
    assert (shown["jobs"]["failed"], shown["jobs"]["ready"]) == (1, 1)
    assert shown["last_hour"][0]["task"] == "a.task"
    assert "a.task" in output(capsys, "tasks", "stats")
    make_worker(name="w-1")
    (worker,) = json.loads(output(capsys, "tasks", "workers", "--json"))
    assert (worker["name"], worker["state"]) == ("w-1", "alive")
    assert "w-1" in output(capsys, "tasks", "workers")


@pytest.mark.django_db
def test_prune_is_a_verb_too(capsys):
    make_failed(status="SUCCESSFUL", finished_at=timezone.now() - timedelta(days=60))
    assert json.loads(output(capsys, "tasks", "prune", "--json")) == {"default": 1}


@pytest.mark.django_db
def test_health_has_exit_codes(capsys, monkeypatch, settings):
    settings.TASKS = settings.TASKS | {"mail": settings.TASKS["default"]}
    assert ended(capsys, "tasks", "health")[0] == 1
    worker = make_worker(queues='["mail"]')
    assert ended(capsys, "tasks", "health") == (0, "well: workers are alive\n")
    assert ended(capsys, "tasks", "health", "--queue", "mail")[0] == 0
    assert ended(capsys, "tasks", "health", "--queue", "named")[0] == 1
    assert ended(capsys, "tasks", "health", "--backend", "mail")[0] == 1
    make_job(enqueued_at=timezone.now() - timedelta(minutes=9))
    assert ended(capsys, "tasks", "health", "--max-age", "3600")[0] == 0
    status, shown = ended(capsys, "tasks", "health", "--max-age", "60", "--json")
    assert (status, json.loads(shown)["well"]) == (1, False)
    Worker.objects.filter(pk=worker.pk).update(lease_expires_at=timezone.now())
    assert ended(capsys, "tasks", "health")[0] == 1

    def broken():
        raise OperationalError("the server is\ngone")

    monkeypatch.setattr(health, "latest_workers", broken)
    status, shown = ended(capsys, "tasks", "health", "--json")
    assert (status, json.loads(shown)["well"]) == (2, None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backend", "defualt"], r"TASKS has no backend 'defualt'\. Did you mean 'default'\?"),
        (["--queue", "nmaed"], r"knows a queue 'nmaed'\. Did you mean 'named'\?"),
        (["--queue", "nmaed", "--backend", "default"], r"knows a queue 'nmaed'\. Did you mean 'named'\?"),
        (["--queue", "named,default"], r"There is no queue 'named,default'"),
        (["--heartbeat-file", "beat", "--queue", "named"], r"--queue cannot be checked"),
        (["--heartbeat-file", "beat", "--backend", "default"], r"--backend cannot be checked"),
        (["--heartbeat-file", "beat", "--max-age", "9"], r"--max-age cannot be checked"),
    ],
)
def test_health_refuses_what_it_cannot_check(flags, message):
    make_worker()
    with pytest.raises(CommandError, match=message) as error:
        call_command("tasks", "health", *flags)
    assert "\n" not in str(error.value)
    # A probe must not take the mistake for a worker that is ill.
    assert error.value.returncode == 2


@pytest.mark.django_db
def test_health_knows_the_queues_of_jobs_and_of_workers(capsys):
    make_worker()
    assert ended(capsys, "tasks", "health", "--queue", "dynamic", "--force")[0] == 0
    make_job(queue_name="dynamic")
    assert ended(capsys, "tasks", "health", "--queue", "dynamic")[0] == 0
    make_worker(queues='["by hand"]')
    assert ended(capsys, "tasks", "health", "--queue", "by hand")[0] == 0


@pytest.mark.django_db
def test_ready_jobs_are_listed_in_the_order_of_a_claim(capsys):
    first, second = make_job(), make_job()
    urgent = make_job(priority=5)
    make_job(status="SCHEDULED", priority=9)
    listed = json.loads(output(capsys, "tasks", "jobs", "--status", "ready", "--json"))
    assert [row["id"] for row in listed] == [str(job.pk) for job in (urgent, first, second)]
    (row,) = json.loads(output(capsys, "tasks", "jobs", "--status", "ready", "--limit", "1", "--json"))
    assert row["id"] == str(urgent.pk)


def test_health_by_a_file_asks_no_database(tmp_path, capsys, monkeypatch):
    path = tmp_path / "beat"
    args = ("tasks", "health", "--heartbeat-file", str(path))
    assert ended(capsys, *args)[0] == 1  # pytest-django forbids the database to this test
    heartbeat_file = HeartbeatFile(str(path))
    heartbeat_file.write("w-1", 60)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ended(capsys, *args)[0] == 0
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"at": content["at"] - 61}))
    assert ended(capsys, *args)[0] == 1
    for bad in ("", "{", "[]", '{"at": "x"}', '{"at": NaN, "good_for": 60}'):
        path.write_text(bad)
        assert ended(capsys, *args)[0] == 1, bad
    heartbeat_file.write("w-1", 60)
    heartbeat_file.remove()
    assert list(tmp_path.iterdir()) == []


def test_heartbeat_file_is_written_through_no_link(tmp_path):
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / f".beat.{os.getpid()}").symlink_to(target)
    (tmp_path / "beat").symlink_to(target)
    HeartbeatFile(str(tmp_path / "beat")).write("w-1", 60)
    assert target.read_text() == "precious"


@pytest.mark.once
def test_a_heartbeat_file_that_cannot_be_written_is_logged_once_a_failure(tmp_path, caplog):
    folder = tmp_path / "run"
    heartbeat_file = HeartbeatFile(str(folder / "beat"))
    for _ in range(2):
        for _ in range(2):
            heartbeat_file.write("w-1", 60)
        (record,) = caplog.records
        assert (record.levelname, record.name) == ("WARNING", "django_tasks_q.worker")
        assert str(folder / "beat") in record.getMessage()
        folder.mkdir()
        heartbeat_file.write("w-1", 60)
        assert len(caplog.records) == 1
        (folder / "beat").unlink()
        folder.rmdir()
        caplog.clear()


@on_one_database
def test_a_heartbeat_file_that_cannot_be_written_is_refused(project, tmp_path):
    for path in (tmp_path / "missing" / "beat", tmp_path):
        done = project.run("runworker", "--batch", "--heartbeat-file", str(path), check=False)
        assert done.returncode == 1
        assert f"heartbeat file {str(path)!r} cannot be written" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    path = tmp_path / "beat"
    assert project.run("runworker", "--batch", "--heartbeat-file", str(path)).returncode == 0
    assert list(tmp_path.iterdir()) == []


@on_one_database
def test_a_worker_that_could_run_nothing_is_refused(project):
    flags = ("--queue", "named", "--exclude-queue", "named")
    done = project.run("runworker", "--batch", *flags, check=False)
    assert done.returncode == 1
    assert "'named'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert project.run("runworker", "--batch", *flags, "--queue", "default").returncode == 0


@on_one_database
def test_a_worker_writes_its_heartbeat_file(project, tmp_path):
    path = tmp_path / "beat"
    with project.worker("--processes", "1", "--heartbeat-file", str(path)) as worker:
        project.wait_for(path.exists)
        assert project.run("tasks", "health", "--heartbeat-file", str(path)).returncode == 0
        assert worker.stop() == 0
    assert not path.exists()


@on_one_database
def test_queues_are_not_named_with_commas(project):
    for flag in ("--queue", "--exclude-queue"):
        done = project.run("runworker", "--batch", flag, "named,default", check=False)
        assert done.returncode == 1
        assert "There is no queue 'named,default': name one queue" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.django_db
@pytest.mark.parametrize(
    "line",
    [
        *(
            ("tasks", verb, "--status", "ready", flag, "")
            for verb in ("cancel", "retry", "discard")
            for flag in ("--task", "--queue", "--backend", "--tag", "--since")
        ),
        ("tasks", "jobs", "--tag", " "),
        ("tasks", "enqueue", "named.task", "--queue", ""),
        ("tasks", "pause", "named", "--until", ""),
        ("tasks", "health", "--queue", ""),
        ("runworker", "--batch", "--queue", ""),
        ("runworker", "--batch", "--exclude-queue", ""),
    ],
    ids=" ".join,
)
def test_a_flag_with_an_empty_value_is_refused(line):
    job = make_job()
    with pytest.raises(CommandError, match=r"must not be empty"):
        call_command(*line)
    assert Job.objects.get(id=job.id).status == "READY"
