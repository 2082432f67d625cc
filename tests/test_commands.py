"""The commands beside the worker."""

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_tasks_q.models import Job
from django_tasks_q.registry import registry

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
