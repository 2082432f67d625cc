"""Schedules over HTTP: what is shown, what is done, and what is refused."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.utils import timezone

from django_tasks_q import task
from django_tasks_q.models import Firing, Job, Schedule

from .api_support import API, JOBS, login, make_job, make_schedule
from .tasksapp import tasks

pytestmark = pytest.mark.django_db

SCHEDULES = f"{API}schedules/"
SAVE = ("view_schedule", "add_schedule", "change_schedule", "add_job")


@task(name="schedules.open", api=True)
def close_day(day: int, *, dry: bool = False) -> None:
    """Close the books of a day."""


@task(name="schedules.ruled", api=lambda request, task, arguments: arguments.get("day") == 1)
def ruled(day: int) -> None:
    """Of one day only."""


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def post(client: Any, verb: str, **body: Any) -> Any:
    return client.post(f"{SCHEDULES}nightly/{verb}/", body, content_type="application/json")


def test_the_list_tells_how_they_stand() -> None:
    make_schedule(timezone="Europe/Berlin", arguments='[["secret"],{}]')
    make_schedule(name="late", next_at=timezone.now() - timedelta(hours=1))
    make_schedule(name="others", backend="other")
    response = login("view_schedule").get(SCHEDULES)
    late, nightly = response.json()
    assert (late["name"], late["state"]) == ("late", "late")
    assert (nightly["name"], nightly["state"], nightly["origin"]) == ("nightly", "active", "database")
    assert nightly["description"] == "At 03:00 every day"
    assert len(nightly["upcoming"]) == 5
    assert "secret" not in response.content.decode()
    assert login("view_schedule", name="b").get(f"{SCHEDULES}nightly/").json() == nightly


def test_actions_are_done_and_returned() -> None:
    make_schedule()
    client = login("view_schedule", "enable_schedule", "run_schedule")
    shown = post(client, "disable", reason="floods").json()
    assert (shown["state"], shown["disabled_by"], shown["disable_reason"]) == ("disabled", "user", "floods")
    assert (shown["next_at"], shown["upcoming"]) == (None, [])
    assert post(client, "enable").json()["state"] == "active"
    shown = post(client, "run").json()
    assert shown["job"] == str(Job.objects.get().id)
    assert Job.objects.get().task_name == tasks.noop.name
    before = Schedule.objects.get().next_at
    shown = post(client, "skip", reason="holiday").json()
    assert Firing.objects.filter(tick=before, outcome="skipped", reason="holiday").exists()
    assert shown["skipped"][:19] == f"{before:%Y-%m-%dT%H:%M:%S}"
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert [name for name, _ in entries] == ["nightly"] * 4
    assert "Disable" in entries[0][1]
    assert "floods" in entries[0][1]
    # To do it again is no harm.
    assert post(client, "enable").status_code == 200


def test_what_cannot_be_done_is_a_conflict() -> None:
    make_schedule(task_name="of.nobody", enabled=False, next_at=None)
    client = login("view_schedule", "run_schedule")
    for verb, why in (("run", "No task is named"), ("skip", "no next time")):
        response = post(client, verb)
        assert (response.status_code, why in response.json()["detail"]) == (409, True)
    assert not Job.objects.exists()
    assert client.post(f"{SCHEDULES}nobody/run/", {}, content_type="application/json").status_code == 404
    assert post(client, "run", unheard_of=1).status_code == 400


def test_jobs_are_found_by_their_schedule() -> None:
    schedule, mine = make_schedule(), make_job()
    make_job()
    now = timezone.now()
    Firing.objects.create(schedule=schedule, tick=now, fired_at=now, outcome="fired", job_id=mine.pk)
    found = login("view_job").get(f"{JOBS}?schedule=nightly").json()["results"]
    assert [job["id"] for job in found] == [str(mine.pk)]


def save(client: Any, name: str = "nightly", **body: Any) -> Any:
    name = body.pop("name", name)
    body = {"task": close_day.name, "arguments": {"day": 1}, "cron": "0 3 * * *"} | body
    url = f"{SCHEDULES}{quote(name)}/save/"
    return client.post(
        url, {key: value for key, value in body.items() if value is not None}, "application/json"
    )


def test_a_schedule_is_made_and_given_other_values() -> None:
    client = login(*SAVE)
    response = save(client, timezone="Europe/Berlin", missed="all", overlap="skip", queue="late", priority=7)
    assert response.status_code == 201
    shown = response.json()
    assert (shown["name"], shown["task"], shown["origin"]) == ("nightly", close_day.name, "database")
    assert (shown["expression"], shown["timezone"], shown["state"]) == (
        "0 3 * * *",
        "Europe/Berlin",
        "active",
    )
    assert (shown["missed"], shown["overlap"], shown["queue"], shown["priority"]) == (
        "all",
        "skip",
        "late",
        7,
    )
    assert Schedule.objects.get().arguments == '[[],{"day":1}]'

    response = save(client, arguments={"day": 2, "dry": True}, cron=None, every=3600, reason="too rarely")
    assert response.status_code == 200
    shown = response.json()
    assert (shown["kind"], shown["expression"], shown["timezone"]) == ("every", "3600", "UTC")
    assert (shown["queue"], shown["priority"]) == ("", None)
    assert Schedule.objects.get().arguments == '[[],{"day":2,"dry":true}]'
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "action_flag", "change_message")
    assert [entry[:2] for entry in entries] == [("nightly", 1), ("nightly", 2)]
    assert "too rarely" in entries[1][2]
    # Names are anything that is printable.
    assert save(client, "every day/at 3").json()["name"] == "every day/at 3"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"cron": "0 3 * *"}, "cron"),
        ({"cron": None}, "non_field_errors"),
        ({"every": 60}, "non_field_errors"),
        ({"cron": None, "every": 0}, "every"),
        ({"cron": None, "every": "60"}, "every"),
        ({"timezone": "Europe/Nowhere"}, "timezone"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "n" * 129}, "name"),
        ({"missed": "maybe"}, "missed"),
        ({"priority": 101}, "priority"),
        ({"queue": "nobody's"}, "non_field_errors"),
        ({"arguments": {"day": "one"}}, "arguments"),
        ({"arguments": {}}, "arguments"),
        ({"arguments": {"day": 1, "context": 1}}, "arguments"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_errors_of_a_schedule_are_by_field(settings: Any, body: dict[str, Any], field: str) -> None:
    settings.TASKS = {"default": settings.TASKS["default"] | {"QUEUES": ["default"]}}
    client = login(*SAVE)
    response = save(client, **body)
    assert (response.status_code, list(response.json())) == (400, [field])
    assert not Schedule.objects.exists()
    assert not LogEntry.objects.exists()


def test_only_what_may_be_enqueued_may_be_scheduled() -> None:
    client = login(*SAVE)
    answers = [save(client, task=name) for name in ("of.nobody", tasks.noop.name)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "not_found")] * 2
    assert answers[0].json() == answers[1].json()
    assert save(login(*SAVE[:3], name="b")).status_code == 403
    assert save(client, task=ruled.name, arguments={"day": 2}).status_code == 403
    assert not Schedule.objects.exists()
    assert save(client, task=ruled.name).status_code == 201


def test_a_schedule_is_deleted_and_that_of_the_code_is_not() -> None:
    make_schedule()
    make_schedule(name="declared", origin="code")
    client = login(*SAVE, "delete_schedule")
    assert post(client, "delete", reason="never again").status_code == 204
    assert list(Schedule.objects.values_list("name", flat=True)) == ["declared"]
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.action_flag) == ("nightly", 3)
    assert "never again" in entry.change_message
    assert post(client, "delete").status_code == 404
    refused = [
        client.post(f"{SCHEDULES}declared/delete/", {}, "application/json"),
        save(client, "declared"),
    ]
    for response in refused:
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
        assert "declared in the code" in response.json()["detail"]
    assert Schedule.objects.get().task_name == tasks.noop.name
