"""What people do to schedules: by the verbs, and by the command."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_tasks_q import actions, schedule
from django_tasks_q.actions import Reason
from django_tasks_q.exceptions import TaskNotRegistered
from django_tasks_q.models import Firing, Job, Schedule
from django_tasks_q.monitoring.descriptions import runs, scheduled
from django_tasks_q.scheduling.declare import schedules
from django_tasks_q.scheduling.fire import Firings
from django_tasks_q.signals import action_performed
from django_tasks_q.storage import storage_for
from django_tasks_q.storage.orm import schedules as verbs

from .tasksapp import tasks


@pytest.fixture(autouse=True)
def forget():
    yield
    for declared in list(schedules):
        schedules.remove(declared.name)


@pytest.fixture
def alias(storage_alias):
    return storage_alias


def declared(alias, name="tick", call=tasks.noop, **options):
    schedule(name, call, **(options or {"cron": "0 3 * * *"}))
    Firings(storage_for(alias), tasks.noop.get_backend()).declare()
    return row(alias, name)


def row(alias, name="tick"):
    return Schedule.objects.using(alias).get(name=name)


def fire(alias):
    return Firings(storage_for(alias), tasks.noop.get_backend()).fire()


def due(alias, name="tick"):
    Schedule.objects.using(alias).filter(name=name).update(next_at=timezone.now() - timedelta(seconds=1))


@pytest.fixture
def heard():
    received = []

    def listen(sender, **values):
        received.append((sender, values["action"], values["ids"], values["reason"], values["user"]))

    action_performed.connect(listen)
    yield received
    action_performed.disconnect(listen)


def test_who_disables_says_who_and_why_and_enabling_takes_it_back(alias, heard):
    declared(alias)
    ada = User(username="ada")
    assert actions.disable_schedule("tick", by="ada", reason="it floods", user=ada).done
    found = row(alias)
    assert (found.enabled, found.disabled_by, found.disable_reason) == (False, "ada", "it floods")
    assert found.disabled_at is not None
    assert found.next_at is None
    assert actions.disable_schedule("tick") == (False, Reason.UNCHANGED, None, None)
    assert actions.enable_schedule("tick", user=ada).done
    found = row(alias)
    assert (found.enabled, found.disabled_by, found.disable_reason, found.disabled_at) == (True, "", "", None)
    # What was missed meanwhile was not wanted.
    assert found.next_at == found.timing.next_after(timezone.now())
    assert heard == [
        (Schedule, "disable_schedule", ["tick"], "it floods", ada),
        (Schedule, "enable_schedule", ["tick"], "", ada),
    ]


def test_enabling_what_is_gone_from_the_code_does_not_make_it_fire(alias, monkeypatch):
    monkeypatch.setattr(verbs, "GRACE", -1.0)
    declared(alias)
    schedules.remove("tick")
    Firings(storage_for(alias), tasks.noop.get_backend()).declare()
    actions.disable_schedule("tick")
    assert actions.enable_schedule("tick").done
    assert row(alias).next_at is None


def test_running_now_leaves_the_times_as_they_are(alias, heard):
    before = declared(alias, call=tasks.add.using(queue_name="reports").bind(3)).next_at
    answer = actions.run_schedule("tick", reason="asked for")
    job = Job.objects.using(alias).get()
    assert (job.id, job.arguments, job.queue_name) == (answer.job_id, "[[3],{}]", "reports")
    firing = Firing.objects.using(alias).get()
    assert (firing.outcome, firing.job_id, firing.reason) == ("manual", job.id, "asked for")
    assert (row(alias).next_at, row(alias).last_at) == (before, None)
    actions.disable_schedule("tick")
    assert actions.run_schedule("tick").done
    assert [action for _, action, *_ in heard].count("run_schedule") == 2


def test_a_skipped_time_does_not_fire_and_the_one_behind_it_does(alias):
    first = declared(alias).next_at
    answer = actions.skip_schedule("tick", reason="holiday")
    assert (answer.done, answer.tick) == (True, first)
    found = row(alias)
    assert found.next_at == found.timing.next_after(first)
    firing = Firing.objects.using(alias).get()
    assert (firing.tick, firing.outcome, firing.reason, firing.job_id) == (first, "skipped", "holiday", None)
    due(alias)
    assert fire(alias)[0] == 1
    actions.disable_schedule("tick")
    assert actions.skip_schedule("tick") == (False, Reason.ENDED, None, None)


@pytest.mark.parametrize("verb", ["enable", "disable", "run", "skip", "delete"])
def test_an_unknown_schedule_is_gone(alias, verb):
    assert getattr(actions, f"{verb}_schedule")("nobody")[:2] == (False, Reason.GONE)


def test_a_schedule_made_by_people_fires_and_is_edited_and_deleted(alias, heard):
    save = {"args": [4], "cron": "0 3 * * *", "timezone": "Europe/Berlin", "queue_name": "q", "priority": 5}
    actions.save_schedule("mine", tasks.add.name, **save)
    made = row(alias, "mine")
    assert (made.origin, made.arguments, made.timezone) == ("database", "[[4],{}]", "Europe/Berlin")
    assert made.next_at == made.timing.next_after(timezone.now())
    due(alias, "mine")
    assert fire(alias)[0] == 1
    job = Job.objects.using(alias).get()
    assert (job.task_name, job.arguments, job.queue_name, job.priority) == (
        tasks.add.name,
        "[[4],{}]",
        "q",
        5,
    )
    actions.save_schedule("mine", tasks.add.name, kwargs={"a": 1}, every=60, overlap="skip")
    edited = row(alias, "mine")
    assert (edited.pk, edited.kind, edited.expression, edited.overlap) == (made.pk, "every", "60", "skip")
    assert edited.next_at == edited.timing.next_after(timezone.now())
    assert actions.delete_schedule("mine").done
    assert not Schedule.objects.using(alias).exists()
    assert not Firing.objects.using(alias).exists()
    assert Job.objects.using(alias).count() == 1
    assert [action for _, action, *_ in heard] == ["save_schedule", "save_schedule", "delete_schedule"]


def test_an_edit_of_what_is_disabled_leaves_it_so(alias):
    actions.save_schedule("mine", tasks.noop.name, every=60)
    actions.disable_schedule("mine")
    actions.save_schedule("mine", tasks.noop.name, every=90)
    assert (row(alias, "mine").enabled, row(alias, "mine").next_at) == (False, None)


@pytest.mark.parametrize(
    ("name", "task_name", "options", "error", "message"),
    [
        ("x", "no.such.task", {"every": 60}, TaskNotRegistered, "No task is named"),
        ("x", tasks.add.name, {"every": 60}, TypeError, "missing a required argument: 'a'"),
        ("x", tasks.noop.name, {"cron": "nonsense"}, ValueError, "no cron expression"),
        ("x", tasks.noop.name, {"every": 60, "timezone": "Mars/Olympus"}, ValueError, "timezone must be"),
        ("x", tasks.noop.name, {"every": 60, "missed": "some"}, ValueError, "missed must be"),
        ("x", tasks.noop.name, {"every": 60, "priority": 1000}, ValueError, "priority must be"),
        ("", tasks.noop.name, {"every": 60}, ValueError, "name must be"),
        ("a\nb", tasks.noop.name, {"every": 60}, ValueError, "name must be"),
        ("tick", tasks.noop.name, {"every": 60}, ValueError, "is declared in the code"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    alias, name, task_name, options, error, message
):
    before = declared(alias)
    with pytest.raises(error, match=message):
        actions.save_schedule(name, task_name, **options)
    assert [found.expression for found in Schedule.objects.using(alias).all()] == [before.expression]


def test_what_the_code_declares_is_not_deleted_until_it_is_gone_from_there(alias, monkeypatch):
    monkeypatch.setattr(verbs, "GRACE", -1.0)
    declared(alias)
    with pytest.raises(ValueError, match="declared in the code"):
        actions.delete_schedule("tick")
    schedules.remove("tick")
    Firings(storage_for(alias), tasks.noop.get_backend()).declare()
    assert actions.delete_schedule("tick").done


def test_the_next_times_mark_where_clocks_change():
    first = datetime(2099, 10, 23, 2, tzinfo=UTC)
    found = Schedule(name="x", expression="0 4 * * *", timezone="Europe/Berlin", next_at=first)
    assert [f"{run.at:%d %H:%M %z}" for run in runs(found)] == [
        "23 04:00 +0200", "24 04:00 +0200", "25 04:00 +0100", "26 04:00 +0100", "27 04:00 +0100",
    ]  # fmt: skip
    assert [run.clocks_change for run in runs(found)][1:] == [False, True, False, False]
    assert scheduled(found)["description"] == "At 04:00 every day"


# The command


def command(capsys, *arguments):
    call_command("tasks", *arguments)
    return capsys.readouterr().out


def test_the_command_lists_them(alias, capsys):
    declared(alias)
    out = command(capsys, "schedules")
    assert "tick" in out
    assert "At 03:00 every day" in out
    (found,) = json.loads(command(capsys, "schedules", "--json"))
    assert (found["name"], found["state"], len(found["upcoming"])) == ("tick", "active", 5)


def test_the_command_does_what_it_says(alias, capsys):
    declared(alias)
    assert "is disabled" in command(capsys, "schedule", "disable", "tick", "--reason", "floods")
    assert row(alias).disabled_by.endswith(" (shell)")
    with pytest.raises(SystemExit) as ended:
        call_command("tasks", "schedule", "disable", "tick")
    assert ended.value.code == 1
    assert "is enabled" in command(capsys, "schedule", "enable", "tick")
    capsys.readouterr()
    done = json.loads(command(capsys, "schedule", "run", "tick", "--json"))
    assert Job.objects.using(alias).get().id.hex == done["job"].replace("-", "")
    assert "will leave" in command(capsys, "schedule", "skip", "tick")
    with pytest.raises(CommandError, match="No schedule is named 'nobody'"):
        call_command("tasks", "schedule", "run", "nobody")


# Before any worker has started


@pytest.mark.parametrize("verb", ["run", "disable", "skip"])
def test_a_schedule_of_the_code_is_there_before_any_worker_has_started(alias, verb):
    schedule("tick", tasks.add.bind(1, 2), cron="0 3 * * *")
    schedule("other", tasks.noop, cron="0 3 * * *")
    answer = getattr(actions, f"{verb}_schedule")("tick")
    assert answer.done
    if verb == "run":
        assert Job.objects.using(alias).get(id=answer.job_id).args == [1, 2]
    assert row(alias).enabled is (verb != "disable")
    assert not Schedule.objects.using(alias).filter(name="other").exists()


def test_a_name_that_is_not_declared_is_gone(alias):
    assert actions.run_schedule("nobody").reason is actions.Reason.GONE


# Names and numbers


BAD_NAMES = ["x/run", "a/b/save", "..", ".", "", " ", "a/../b", "/a", "a/", "a//b", "a\nb", "x" * 129]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_break_addresses_are_refused(alias, name):
    with pytest.raises(ValueError, match="name must"):
        schedule(name, tasks.noop, every=60)
    with pytest.raises(ValueError, match="name must"):
        actions.save_schedule(name, tasks.noop.name, every=60)
    assert not Schedule.objects.using(alias).exists()


@pytest.mark.parametrize("name", ["run", "every day/at 3", "a.b", "a..b", "x/runs", "ü/漢", "..."])
def test_other_names_are_fine(alias, name):
    schedule(name, tasks.noop, every=60)
    assert actions.run_schedule(name).done


def test_the_names_of_verbs_are_those_of_the_routes():
    from django_tasks_q.api import schedules
    from django_tasks_q.scheduling.declare import VERBS

    assert {*VERBS} == {verb.name for verb in schedules.VERBS} | {"save"}


def test_a_long_interval_is_stored_to_the_second(alias):
    actions.save_schedule("x", tasks.noop.name, every=1234567)
    found = row(alias, "x")
    assert (found.expression, found.timing.interval) == ("1234567", 1234567)


def test_a_schedule_without_a_next_time_gets_one_when_it_is_enabled(alias):
    actions.save_schedule("x", tasks.noop.name, cron="0 3 * * *")
    Schedule.objects.using(alias).update(next_at=None)
    assert row(alias, "x").is_late
    assert Schedule.objects.using(alias).late().get().name == "x"
    assert actions.enable_schedule("x").done
    assert row(alias, "x").next_at is not None
    assert not row(alias, "x").is_late
    assert not actions.enable_schedule("x").done


@pytest.mark.parametrize("verb", ["enable", "skip"])
def test_what_cannot_be_read_here_is_not_given_a_time_here(alias, verb):
    actions.save_schedule("x", tasks.noop.name, cron="0 3 * * *")
    before = row(alias, "x").next_at
    if verb == "enable":
        actions.disable_schedule("x")
    Schedule.objects.using(alias).update(timezone="Europe/Atlantis")
    with pytest.raises(ValueError, match="Europe/Atlantis"):
        getattr(actions, f"{verb}_schedule")("x")
    assert row(alias, "x").enabled is (verb == "skip")
    assert row(alias, "x").next_at == (before if verb == "skip" else None)
