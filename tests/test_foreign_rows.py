"""Rows that something else has written, and secrets in what jobs leave: no door shows or breaks."""

import json
import logging
from io import StringIO
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import OperationalError, connections
from django.test import Client
from django.utils import timezone

from django_tasks_q import actions, task
from django_tasks_q.api import schedules as api_schedules
from django_tasks_q.api import stats
from django_tasks_q.api.schema import _made
from django_tasks_q.compat import task_backends
from django_tasks_q.management.output import on_terminal
from django_tasks_q.models import Job, LogLine, Progress
from django_tasks_q.monitoring.descriptions import described
from django_tasks_q.payload import codec
from django_tasks_q.payload.schema import arguments_schema

from .admin_support import JOBS as ADMIN_JOBS
from .admin_support import make_attempt
from .api_support import API, JOBS, login, make_job, make_schedule, make_worker
from .test_api_matrix import ALL

pytestmark = pytest.mark.django_db
DEEP = "[" * 20_000 + "]" * 20_000
FOREIGN = (
    DEEP,
    '{"a":' * 300 + "1" + "}" * 300,
    "1e999",
    '"\\ud800"',
    "NaN",
    "[1",
    "5",
    '{"a": -Infinity}',
)
#: A door: what is fetched, with the id of the job in its place.
SCREENS = (f"{ADMIN_JOBS}%s/change/", f"{ADMIN_JOBS}%s/again/", f"{JOBS}%s/", f"{JOBS}%s/attempts/")
LISTS = (JOBS, ADMIN_JOBS, f"{ADMIN_JOBS}dashboard/", f"{ADMIN_JOBS}failed/", f"{ADMIN_JOBS}?export=csv")


@task(name="foreign.secret", sensitive=["pin", "card"])
def secret_task(pin: int = 998877, card: str = "unlikely-default", password: str = "hunter2-default") -> None:
    pass


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()
    _made.clear()


@pytest.fixture
def client() -> Client:
    return login(*ALL, "view_payload_job", name="all", is_staff=True, is_superuser=True)


@pytest.mark.parametrize("foreign", FOREIGN, ids=[text[:12] or "empty" for text in FOREIGN])
def test_foreign_json_breaks_no_door(foreign: str, client: Client) -> None:
    for wrapped in (foreign, f'[[{foreign}],{{"x":{foreign}}}]'):
        job = make_job(
            status="FAILED",
            task_name="foreign.secret",
            attempts=1,
            arguments=wrapped,
            result=foreign,
            metadata=foreign,
            tags=foreign,
            options=foreign,
            error_code="X",
        )
        make_attempt(job, data=foreign)
        Job.objects.filter(pk=job.pk).update(fence=1)
        Progress.objects.create(job=job, fence=1, value=foreign, updated_at=timezone.now())
        for screen in SCREENS:
            cache.clear()
            assert client.get(screen % job.pk).status_code < 500, screen
        assert task_backends["default"].get_result(str(job.pk)).id == str(job.pk)
        for arguments in (("show", str(job.pk)), ("show", str(job.pk), "--json"), ("jobs",)):
            call_command("tasks", *arguments, stdout=StringIO())
    for screen in LISTS:
        cache.clear()
        assert client.get(screen).status_code == 200, screen


@pytest.mark.parametrize(
    "stored", ['[[],{"password":"hunter2"}', '[[],{"password":"hunter2","x":1e999}]', '{"password":hunter2}']
)
def test_secrets_in_what_cannot_be_read_are_shown_nowhere(stored: str, client: Client) -> None:
    job = make_job(
        status="FAILED",
        task_name="foreign.secret",
        attempts=1,
        fence=1,
        arguments=stored,
        result=stored,
        metadata=stored,
        tags=stored,
    )
    make_attempt(job, data=stored)
    Progress.objects.create(job=job, fence=1, value=stored, updated_at=timezone.now())
    for screen in (*(screen % job.pk for screen in SCREENS), *LISTS):
        cache.clear()
        assert "hunter2" not in client.get(screen).content.decode(), screen
    length = {name: len(stored) for name in ("arguments", "result", "metadata", "tags")}
    told = f"This value cannot be read: {len(stored)} characters"
    assert client.get(f"{ADMIN_JOBS}{job.pk}/change/").content.decode().count(told) >= 5
    assert client.get(f"{JOBS}{job.pk}/").json()["unreadable"] == length
    output = StringIO()
    call_command("tasks", "show", str(job.pk), "--json", stdout=output)
    shown = json.loads(output.getvalue())
    assert (shown["args"], shown["kwargs"], shown["result"]) == (None, None, None)
    assert shown["unreadable"] == length
    assert "hunter2" not in output.getvalue()


def test_arguments_of_another_shape_have_no_names_to_mask_them_by(client: Client) -> None:
    for stored in ('["hunter2"]', '"hunter2"', '{"password":"hunter2"}', '[["hunter2"],{},1]'):
        job = make_job(task_name="foreign.secret", arguments=stored)
        for screen in (*(screen % job.pk for screen in SCREENS), ADMIN_JOBS):
            cache.clear()
            assert "hunter2" not in client.get(screen).content.decode(), (screen, stored)


def test_numbers_that_json_does_not_have_are_null(any_database: str, client: Client) -> None:
    if connections[any_database].vendor == "mysql":
        pytest.skip("its columns hold no such numbers")
    job = make_job(status="RUNNING", fence=2, duration=float("inf"), timeout=float("inf"))
    infinite = float("inf") if connections[any_database].vendor != "postgresql" else float("nan")
    Progress.objects.create(job=job, fence=2, current=infinite, total=float("inf"), updated_at=timezone.now())
    shown = client.get(f"{JOBS}{job.pk}/").json()
    assert (shown["duration"], shown["timeout"]) == (None, None)
    assert [shown["progress"][name] for name in ("current", "total", "share")] == [None, None, None]
    for screen in (JOBS, f"{JOBS}{job.pk}/progress/", f"{ADMIN_JOBS}{job.pk}/change/", ADMIN_JOBS):
        cache.clear()
        assert client.get(screen).status_code == 200, screen


@pytest.fixture
def any_database(storage_alias: str, settings: Any) -> str:
    from .conftest import Router

    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    return storage_alias


@pytest.mark.once
def test_texts_are_read_as_strictly_as_they_are_written() -> None:
    for good in ('"\\ud83d\\ude00"', '["\\\\ud800"]', "[" * 60 + "]" * 60, json.dumps(["[" * 999]), "1e308"):
        codec.loads(good)
    for bad in FOREIGN[:6]:
        with pytest.raises(ValueError, match=r"."):
            codec.loads(bad)


def test_secrets_are_hidden_alike_at_every_door(client: Client) -> None:
    odd = 'it\'s "xyzzyx"\n\\of'
    job = make_job(
        status="FAILED",
        task_name="foreign.secret",
        attempts=1,
        arguments=json.dumps([[424242], {"card": {"kkkk-key": 1}, "password": odd}]),
        result=json.dumps({"said": f"pin 424242 {odd}", "n": 424242, "kkkk-key": [odd], "token": "tttt"}),
        metadata=json.dumps({"kkkk-key": 424242, "pin": 5, "note": odd}),
    )
    said = f"{odd!r} and {json.dumps(odd)} and 424242 and kkkk-key"
    make_attempt(
        job,
        exception_class="ValueError",
        message=said,
        traceback=said,
        data=json.dumps({"card": "cccc", "kkkk-key": said, "n": 424242}),
    )
    Job.objects.filter(pk=job.pk).update(fence=1)
    LogLine.objects.create(job=job, fence=1, level=20, logger="x", message=said, created_at=timezone.now())
    Progress.objects.create(
        job=job, fence=1, message=said[:255], value=json.dumps([said, 424242]), updated_at=timezone.now()
    )
    out = StringIO()
    call_command("tasks", "show", str(job.pk), stdout=out)
    screens = (f"{ADMIN_JOBS}{job.pk}/change/", f"{JOBS}{job.pk}/", f"{JOBS}{job.pk}/logs/", ADMIN_JOBS)
    for text in (out.getvalue(), *(client.get(screen).content.decode() for screen in screens)):
        for secret in ("424242", "kkkk", "xyzzyx", "tttt", "cccc"):
            assert secret not in text, (secret, text[:2000])


def test_defaults_of_secrets_are_not_published(client: Client) -> None:
    assert "default" not in json.dumps(arguments_schema(secret_task))
    for text in (
        json.dumps(described(secret_task)),
        client.get(f"{API}tasks/foreign.secret/").content.decode(),
        client.get(f"{ADMIN_JOBS}tasks/").content.decode(),
    ):
        assert not any(secret in text for secret in ("998877", "unlikely-default", "hunter2-default"))


@pytest.mark.once
def test_a_terminal_is_told_nothing_by_stored_text() -> None:
    assert on_terminal("\x1b]0;owned\x07 \x9b31m é\n") == "\\x1b]0;owned\\x07 \\x9b31m é\n"


# Answers


def test_schedules_say_that_there_are_more(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_schedules, "MAX_SCHEDULES", 2)
    for name in ("a&b", "c", "d"):
        make_schedule(name=name, kind="cron")
    first = client.get(f"{API}schedules/")
    assert [each["name"] for each in first.json()] == ["a&b", "c"]
    link = first["Link"].removeprefix("<").removesuffix('>; rel="next"')
    rest = client.get(link)
    assert ([each["name"] for each in rest.json()], "Link" in rest) == (["d"], False)
    assert client.get(f"{API}schedules/", {"after": "a&b\x00"}).status_code == 400


def test_the_schema_is_made_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get(f"{API}schema/")
    monkeypatch.setattr(
        "drf_spectacular.generators.SchemaGenerator.get_schema", lambda *more, **options: pytest.fail("again")
    )
    again = login("view_job").get(f"{API}schema/")
    assert again.content == first.content


def down(*more: Any, **options: Any) -> Any:
    raise OperationalError("the server has gone away")


@pytest.mark.parametrize("path", ["jobs/", "health/", "queues/", "schedules/", "workers/", "stats/"])
def test_a_database_that_is_down_is_a_503_in_json(
    path: str, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for place in (
        "jobs.JobList.get_queryset",
        "stats.Health.get",
        "queues.QueueList.get",
        "schedules.ScheduleList.get",
    ):
        monkeypatch.setattr(f"django_tasks_q.api.{place}", down)
    for place in ("workers.WorkerList.get_queryset", "stats.Stats.get"):
        monkeypatch.setattr(f"django_tasks_q.api.{place}", down)
    with caplog.at_level(logging.ERROR, "django_tasks_q.api"):
        response = client.get(f"{API}{path}")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response["Content-Type"] == "application/json"
    assert "gone away" in caplog.text
    assert "gone away" not in response.content.decode()


def test_health_is_closed_unless_the_settings_open_it(settings: Any) -> None:
    make_worker()
    assert Client().get(f"{API}health/").status_code in (401, 403)
    default = settings.TASKS["default"]
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | {"PUBLIC_HEALTH": True}}}
    nobody = Client()
    assert nobody.get(f"{API}health/").json()["healthy"] is True
    stale = Client(headers={"authorization": "Basic nonsense", "cookie": "sessionid=gone"})
    assert stale.get(f"{API}health/").status_code == 200
    assert nobody.get(f"{API}stats/").status_code in (401, 403)
    assert stats.Health.permission_classes


def test_a_state_of_a_newer_release_can_be_read_and_is_left_alone() -> None:
    job = make_job()
    Job.objects.filter(id=job.id).update(status="FUTURE")
    assert task_backends["default"].get_result(str(job.id)).status == "READY"
    for verb in (actions.cancel, actions.discard, actions.retry, actions.run_now, actions.delete):
        assert verb([job.id]).skipped == {actions.Reason.UNKNOWN: {job.id}}
    assert Job.objects.get(id=job.id).status == "FUTURE"
