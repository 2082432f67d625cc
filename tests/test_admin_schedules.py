"""The admin's screens about schedules: permissions, actions, forms and log entries."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q import actions, task
from django_tasks_q.models import Firing, Job, Schedule

from .admin_support import BASE, DASHBOARD, HOSTILE, JOBS, Page, make_job, make_worker, page, staff
from .tasksapp import tasks
from .test_admin import own_queries

pytestmark = pytest.mark.django_db

SCHEDULES = f"{BASE}schedule/"
VIEWS = ("view_schedule", "view_job", "view_payload_job")
FORM = {
    "name": "nightly",
    "task": tasks.add.name,
    "args": "[1]",
    "kwargs": '{"b": 2}',
    "kind": "cron",
    "expression": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "missed": "one",
    "overlap": "skip",
    "queue_name": "",
    "priority": "",
}


@task(name="tests.log_in")
def log_in(password: str) -> None:
    pass


def make_schedule(**fields: Any) -> Schedule:
    defaults = {
        "backend": "default",
        "name": "nightly",
        "origin": "database",
        "task_name": tasks.noop.name,
        "expression": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "next_at": timezone.now() + timedelta(hours=1),
    }
    return Schedule.objects.create(**defaults | fields)


def make_firing(schedule: Schedule, minutes: int = 1, **fields: Any) -> Firing:
    moment = timezone.now() - timedelta(minutes=minutes)
    defaults = {"outcome": "fired", "tick": moment, "fired_at": moment}
    return Firing.objects.create(schedule=schedule, **defaults | fields)


def act(client: Client, verb: str, schedule: Schedule, confirmed: bool = True, **data: str) -> Any:
    more = {"confirmed": "1"} if confirmed else {}
    return client.post(f"{SCHEDULES}actions/{verb}/", {"id": schedule.pk, **data, **more}, follow=True)


def messages_of(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def test_the_list_shows_times_and_outcomes() -> None:
    schedule = make_schedule()
    done, failed = make_job(status="SUCCESSFUL"), make_job(status="FAILED")
    make_firing(schedule, 3, job_id=done.pk)
    make_firing(schedule, 2, job_id=failed.pk)
    make_firing(schedule, 1, outcome="overlap")
    content = staff(*VIEWS).get(SCHEDULES).content.decode()
    assert "At 03:00 every day" in content
    assert "Europe/Berlin" in content
    marks = [f'tasks-mark tasks-{kind}"' for kind in ("successful", "failed", "scheduled")]
    places = [content.index(mark) for mark in marks]
    assert places == sorted(places)
    assert f"{JOBS}{done.pk}/change/" in content
    assert "skipped: the job before has not ended" in content


def test_the_page_shows_the_next_times_by_the_zone_and_where_clocks_change() -> None:
    first = timezone.now().replace(year=2099, month=10, day=24, hour=1, minute=0, second=0, microsecond=0)
    schedule = make_schedule(next_at=first)
    content = staff(*VIEWS).get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    assert content.count("03:00:00") >= 5
    # One change from summer to winter time in between: one mark, or two if it is summer today.
    assert 1 <= content.count("after the clocks change") <= 2
    assert content.count("CEST") == 1
    assert content.count("CET") == 4


def test_a_job_leads_to_its_schedule_and_a_schedule_to_its_jobs() -> None:
    schedule = make_schedule()
    mine, other = make_job(), make_job()
    make_firing(schedule, job_id=mine.pk)
    client = staff(*VIEWS)
    assert f"{SCHEDULES}{schedule.pk}/change/" in client.get(page(mine)).content.decode()
    assert SCHEDULES + str(schedule.pk) not in client.get(page(other)).content.decode()
    content = client.get(f"{JOBS}?schedule={schedule.name}").content.decode()
    assert str(mine.pk) in content
    assert str(other.pk) not in content
    assert "is invalid and was ignored" in client.get(f"{JOBS}?schedule=%07").content.decode()
    retry = staff(*VIEWS, "discard_job", name="may")
    data = {"matching": f"schedule={schedule.name}", "confirmed": "1"}
    asked = retry.post(f"{JOBS}actions/discard/", {"matching": data["matching"]})
    retry.post(f"{JOBS}actions/discard/", {**data, "ids": str(asked.context["ids"])})
    assert set(Job.objects.filter(status="CANCELLED").values_list("pk", flat=True)) == {mine.pk}
    content = staff("view_job", name="other").get(page(mine)).content.decode()
    assert schedule.name not in content


def test_the_dashboard_names_schedules_that_have_no_next_time() -> None:
    make_schedule(name="dead", next_at=None)
    make_schedule(name="off", next_at=None, enabled=False)
    content = staff(*VIEWS).get(DASHBOARD).content.decode()
    assert "1 schedule is enabled and has no next time: dead." in content


def test_the_dashboard_says_what_comes_next_and_what_is_late() -> None:
    make_worker()
    make_schedule(name="soon")
    client = staff(*VIEWS)
    content = client.get(DASHBOARD).content.decode()
    assert "Next schedules" in content
    assert "is late" not in content
    make_schedule(name="stuck", task_name="of.nobody", next_at=timezone.now() - timedelta(hours=1))
    content = client.get(DASHBOARD).content.decode()
    assert "1 schedule is late: stuck." in content
    assert "Deploy the task “of.nobody”, or disable the schedule." in content
    content = staff("view_job", name="other").get(DASHBOARD).content.decode()
    assert "Next schedules" not in content
    assert "is late" not in content


# Who may


def test_schedules_are_hidden_without_permission() -> None:
    schedule = make_schedule()
    client = staff("view_job", "view_payload_job")
    for address in ("", "add/", f"{schedule.pk}/change/", f"{schedule.pk}/edit/", f"{schedule.pk}/history/"):
        assert client.get(f"{SCHEDULES}{address}").status_code == 403, address


@pytest.mark.parametrize(
    ("verb", "codename"),
    [
        ("enable", "enable_schedule"),
        ("disable", "enable_schedule"),
        ("run", "run_schedule"),
        ("skip", "run_schedule"),
        ("delete", "delete_schedule"),
    ],
)
def test_each_action_needs_its_permission_is_confirmed_done_and_logged(verb: str, codename: str) -> None:
    schedule = make_schedule(enabled=verb != "enable")
    others = {"enable_schedule", "run_schedule", "delete_schedule", "change_schedule"} - {codename}
    without = staff(*VIEWS, *others)
    before = Schedule.objects.values().get()
    assert act(without, verb, schedule).status_code == 403
    assert f"actions/{verb}/" not in without.get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    client = staff(*VIEWS, codename, name="may")
    assert f"actions/{verb}/" in client.get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    if verb != "enable":  # which is undone by the button that comes in its place
        assert act(client, verb, schedule, confirmed=False).status_code == 200
        assert Schedule.objects.values().get() == before
        assert not Firing.objects.exists()
    response = act(client, verb, schedule, reason="because")
    assert response.status_code == 200
    match verb:
        case "enable":
            assert Schedule.objects.get().enabled
        case "disable":
            found = Schedule.objects.get()
            assert (found.enabled, found.disabled_by, found.disable_reason) == (False, "may", "because")
        case "run":
            assert Job.objects.get().task_name == tasks.noop.name
        case "skip":
            assert Firing.objects.get().outcome == "skipped"
        case "delete":
            assert not Schedule.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.username) == (str(schedule.pk), "may")
    assert ("because" in entry.change_message) == (verb != "enable")


def test_a_get_changes_nothing_and_a_form_without_token_is_refused() -> None:
    schedule = make_schedule()
    client = staff(*VIEWS, "enable_schedule")
    client.get(f"{SCHEDULES}actions/disable/", {"id": schedule.pk, "confirmed": "1"})
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(f"{SCHEDULES}actions/disable/", {"id": schedule.pk}).status_code == 403
    assert Schedule.objects.get().enabled


def test_a_schedule_that_cannot_run_gives_the_reason() -> None:
    schedule = make_schedule(task_name="of.nobody")
    response = act(staff(*VIEWS, "run_schedule"), "run", schedule)
    assert "No task is named" in messages_of(response)
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


# Made and edited


def test_a_schedule_is_added_and_edited() -> None:
    client = staff(*VIEWS, "add_schedule", "change_schedule")
    assert client.get(f"{SCHEDULES}add/").status_code == 200
    response = client.post(f"{SCHEDULES}add/", FORM, follow=True)
    assert "is saved" in messages_of(response)
    schedule = Schedule.objects.get()
    assert (schedule.origin, schedule.arguments, schedule.overlap) == ("database", '[[1],{"b":2}]', "skip")
    assert schedule.next_at is not None
    edit = f"{SCHEDULES}{schedule.pk}/edit/"
    assert "0 3 * * *" in client.get(edit).content.decode()
    client.post(edit, {**FORM, "kind": "every", "expression": "300", "args": "[5]", "kwargs": ""})
    schedule.refresh_from_db()
    assert (schedule.name, schedule.kind, schedule.expression) == ("nightly", "every", "300")
    assert schedule.arguments == "[[5],{}]"
    added, edited = [entry.change_message for entry in LogEntry.objects.order_by("pk")]
    assert (added, edited.partition(". ")[0]) == ("Added", "Edited")
    assert "By: cron → every" in edited
    assert f"Expression: {FORM['expression']} → 300" in edited


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expression": "nonsense"}, "no cron expression"),
        ({"kind": "every", "expression": "x"}, "An interval must be a number of seconds"),
        ({"timezone": "Europe/Berln"}, "Did you mean"),
        ({"args": "{}"}, "This must be a list"),
        ({"kwargs": "[]"}, "This must be an object"),
        ({"args": "[]", "kwargs": "{}"}, "missing a required argument"),
        ({"task": "of.nobody"}, "Select a valid choice"),
        ({"name": "a\x07b"}, "Enter printable characters"),
        ({"priority": "1000"}, "less than or equal to 100"),
    ],
)
def test_a_bad_form_says_why_and_saves_nothing(changes: dict[str, str], message: str) -> None:
    response = staff(*VIEWS, "add_schedule").post(f"{SCHEDULES}add/", {**FORM, **changes})
    assert response.status_code == 400
    assert message in Page(response).text
    assert not Schedule.objects.exists()


def test_a_name_is_not_taken_twice_and_code_is_not_edited() -> None:
    client = staff(*VIEWS, "add_schedule", "change_schedule")
    schedule = make_schedule(origin="code")
    assert "with this name already exists" in Page(client.post(f"{SCHEDULES}add/", FORM)).text
    response = client.post(f"{SCHEDULES}{schedule.pk}/edit/", FORM, follow=True)
    assert "can be changed only there" in messages_of(response)
    assert Schedule.objects.get().expression == "0 3 * * *"


def test_secrets_are_masked_and_survive_an_edit() -> None:
    actions.save_schedule("nightly", log_in.name, kwargs={"password": "hunter2"}, every=60)
    schedule = Schedule.objects.get()
    client = staff(*VIEWS, "change_schedule")
    edit = f"{SCHEDULES}{schedule.pk}/edit/"
    for address in (edit, f"{SCHEDULES}{schedule.pk}/change/"):
        assert "hunter2" not in client.get(address).content.decode()
    shown = client.get(edit).context["form"].initial["kwargs"]
    form = {**FORM, "task": log_in.name, "args": "[]", "kwargs": json.dumps(shown)}
    client.post(edit, form)
    assert "hunter2" in Schedule.objects.get().arguments
    for change in (
        {"task": "tests.tasksapp.tasks.noop"},
        {"args": '["mallory@example.com"]'},
        {"kwargs": json.dumps({**shown, "to": "mallory@example.com"})},
    ):
        refused = client.post(edit, {**form, **change})
        assert (refused.status_code, "Enter them again" in Page(refused).text) == (400, True)
    assert "hunter2" in Schedule.objects.get().arguments
    client.post(edit, {**form, "kwargs": '{"password": "hunter3"}'})
    assert "hunter3" in Schedule.objects.get().arguments
    content = staff("view_schedule", name="other").get(f"{SCHEDULES}{schedule.pk}/change/").content.decode()
    assert "tests.log_in" in content
    assert "password" not in content


# Craft


def test_hostile_text_stays_text() -> None:
    schedule = make_schedule(
        name=HOSTILE, backend=HOSTILE, task_name=HOSTILE, expression=HOSTILE, timezone=HOSTILE[:60],
        disabled_by=HOSTILE, disable_reason=HOSTILE, disabled_at=timezone.now(), enabled=False,
        queue_name=HOSTILE,
    )  # fmt: skip
    make_firing(schedule, outcome="failed", reason=HOSTILE)
    client = staff(*VIEWS, "change_schedule", "run_schedule", "enable_schedule", "delete_schedule")
    addresses = ["", f"{schedule.pk}/change/", f"{schedule.pk}/edit/"]
    responses = [client.get(f"{SCHEDULES}{address}") for address in addresses]
    responses += [act(client, verb, schedule, confirmed=False) for verb in ("run", "delete")]
    for response in responses:
        shown = Page(response)
        assert response.status_code == 200
        assert (shown.inline, shown.code) == ([], "")
        assert "alert(1)" in shown.text
        assert "{{7*7}}" in shown.text


def test_queries_do_not_depend_on_the_number_of_rows() -> None:
    client = staff(*VIEWS)
    client.get(SCHEDULES)
    counts = []
    for more in (1, 30):
        for number in range(more):
            schedule = make_schedule(name=f"s{more}.{number}")
            for minutes in range(15):
                make_firing(schedule, minutes, job_id=make_job().pk)
        for address in (SCHEDULES, f"{SCHEDULES}{schedule.pk}/change/", DASHBOARD):
            with CaptureQueriesContext(connection) as queries:
                assert client.get(address).status_code == 200
            counts.append(len(own_queries(queries)))
    assert counts[:3] == counts[3:]
    assert max(counts) <= 16
    assert client.get(SCHEDULES).content.decode().count('class="tasks-mark tasks-') == 310


@pytest.mark.parametrize("id", ["x", "0", "999999999999999999999", "-1", "%00"])
def test_invalid_ids_redirect_to_the_list(id: str) -> None:
    client = staff(*VIEWS, "run_schedule")
    response = client.get(f"{SCHEDULES}{id}/change/", follow=True)
    assert response.redirect_chain[-1][0] == SCHEDULES
    assert client.post(f"{SCHEDULES}actions/run/", {"id": id, "confirmed": "1"}).status_code == 302
