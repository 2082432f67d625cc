import base64
import json
import sys
import time
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings

from django_tasks_q import task
from django_tasks_q.api import jobs, serializers
from django_tasks_q.api.permissions import CanViewJobs
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Attempt, Job, LogLine, Progress
from django_tasks_q.payload.masking import MASK
from django_tasks_q.results.waiter import Waiter

from .api_support import JOBS, login, make_attempt, make_job

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\"'><svg onload=alert(1)>{{7*7}}"
LARGE = {"args", "kwargs", "return_value", "attempt_history", "arguments", "result"}


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


@pytest.fixture
def viewer() -> Client:
    return login("view_job", "view_payload_job")


def test_project_default_is_open() -> None:
    # What the other tests rely on: these views are closed although nothing around them is.
    (permission,) = api_settings.DEFAULT_PERMISSION_CLASSES
    assert permission is AllowAny


def test_inactive_user_is_refused() -> None:
    request = RequestFactory().get(JOBS)
    for user in (AnonymousUser(), User(username="gone", is_active=False, is_superuser=True)):
        request.user = user
        assert not CanViewJobs().has_permission(request, None)  # type: ignore[arg-type]


def test_list_has_what_is_small(viewer: Client) -> None:
    job = make_job(status=JobStatus.FAILED, queue_name="emails", attempts=2, error_code="SMTPException")
    body = viewer.get(JOBS).json()
    assert set(body) == {"next", "previous", "searched_to", "results"}
    (shown,) = body["results"]
    assert shown["id"] == str(job.id)
    assert (shown["task"], shown["queue"], shown["status"]) == ("shop.ship", "emails", "FAILED")
    assert (shown["attempts"], shown["max_attempts"], shown["error_code"]) == (2, 1, "SMTPException")
    assert not LARGE & set(shown)


@task(name="api.shown")
def shown_task(*args: object, **kwargs: object) -> None:
    pass


def test_detail_adds_arguments_result_and_attempts(viewer: Client) -> None:
    job = make_job(
        task_name=shown_task.name,
        arguments='[[1,"Zoë"],{"notify":true}]',
        result='{"sum":3}',
        attempts=2,
        fence=2,
    )
    for number in (1, 2):
        make_attempt(job, number=number, fence=number, message=f"message {number}", traceback="Traceback…")
    listed = viewer.get(JOBS).json()["results"][0]
    shown = viewer.get(f"{JOBS}{job.id}/").json()
    assert listed.items() <= shown.items()
    assert shown["args"] == [1, "Zoë"]
    assert shown["kwargs"] == {"notify": True}
    assert shown["return_value"] == {"sum": 3}
    assert [attempt["message"] for attempt in shown["attempt_history"]] == ["message 1", "message 2"]
    assert shown["attempt_history"][0]["traceback"] == "Traceback…"


def test_detail_has_the_latest_attempts_of_very_many(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serializers, "MAX_ATTEMPTS", 2)
    job = make_job()
    for number in (1, 2, 3):
        make_attempt(job, number=number, fence=number)
    shown = viewer.get(f"{JOBS}{job.id}/").json()["attempt_history"]
    assert [attempt["number"] for attempt in shown] == [2, 3]


@pytest.mark.parametrize("payload", ["[[1", "1", "[]", "{}", "null", ""])
def test_unreadable_payload_is_null(payload: str, viewer: Client) -> None:
    job = make_job(arguments=payload, result="[[1")
    shown = viewer.get(f"{JOBS}{job.id}/").json()
    assert (shown["args"], shown["kwargs"], shown["return_value"]) == (None, None, None)


@pytest.mark.parametrize(
    "query, found",
    [
        ("status=FAILED", ["b"]),
        ("queue=emails", ["b", "a"]),
        ("task=c", ["c"]),
        ("queue=emails&status=READY", ["a"]),
        ("queue=Emails", []),
        ("queue=emails%20", []),
        ("task=", None),
        ("", ["c", "b", "a"]),
    ],
)
def test_filters_are_exact(query: str, found: list[str] | None, viewer: Client) -> None:
    make_job(task_name="a", queue_name="emails")
    make_job(task_name="b", queue_name="emails", status=JobStatus.FAILED)
    make_job(task_name="c")
    response = viewer.get(f"{JOBS}?{query}")
    if found is None:
        assert response.status_code == 400
    else:
        assert [job["task"] for job in response.json()["results"]] == found


@pytest.mark.parametrize(
    "query, field",
    [
        ("status=NONE", "status"),
        ("status=failed", "status"),
        ("status=FAILED&status=READY", "status"),
        ("status=%00", "status"),
        ("queue=%00", "queue"),
        ("queue=" + "q" * 129, "queue"),
        ("task=" + "t" * 256, "task"),
        ("task__icontains=x", "task__icontains"),
        ("ordering=arguments", "ordering"),
        ("search=x", "search"),
        ("page=2", "page"),
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=x", "page_size"),
        ("page_size=" + "9" * 5000, "page_size"),
    ],
)
def test_parameter_that_means_nothing_is_refused_by_name(query: str, field: str, viewer: Client) -> None:
    make_job()
    response = viewer.get(f"{JOBS}?{query}")
    assert response.status_code == 400
    assert list(response.json()) == [field]


def test_format_parameter_belongs_to_the_framework(viewer: Client) -> None:
    assert viewer.get(f"{JOBS}?format=json").status_code == 200
    assert viewer.get(f"{JOBS}?format=api").status_code == 200


def test_pages_hold_every_job_once_newest_first(viewer: Client) -> None:
    made = [make_job() for _ in range(120)]
    pages, url = [], JOBS
    while url:
        body = viewer.get(url).json()
        pages.append([job["id"] for job in body["results"]])
        last, url = body, body["next"]
        make_job()  # arrives while pages are turned, and shifts none
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [id for page in pages for id in page] == [str(job.id) for job in reversed(made)]
    assert [job["id"] for job in viewer.get(last["previous"]).json()["results"]] == pages[1]


@pytest.mark.parametrize("asked, got", [("1", 1), ("200", 200), ("201", 200), ("100000", 200)])
def test_page_size_has_a_limit(asked: str, got: int, viewer: Client) -> None:
    Job.objects.bulk_create(
        Job(task_name="t", queue_name="q", backend="default", arguments="[[],{}]", enqueued_at=timezone.now())
        for _ in range(210)
    )
    assert len(viewer.get(f"{JOBS}?page_size={asked}").json()["results"]) == got


def cursor(query: str) -> str:
    return base64.b64encode(query.encode()).decode()


@pytest.mark.parametrize(
    "value", ["x", "é", "\x00", cursor("p=x"), cursor("p="), cursor("p=%00"), cursor("o=x"), cursor("r=x")]
)
def test_malformed_cursor_is_not_found(value: str, viewer: Client) -> None:
    make_job()
    assert viewer.get(JOBS, {"cursor": value}).status_code in (400, 404)


def test_a_cursor_behind_all_jobs_leads_back(viewer: Client) -> None:
    job = make_job()
    for filters in ({}, {"queue": "nope"}, {"status": "READY"}):
        expected = [] if "queue" in filters else [str(job.id)]
        for start, way in (("o=1", "previous"), ("o=900", "previous"), ("o=900&r=1", "next")):
            page = viewer.get(JOBS, {"cursor": cursor(start), **filters}).json()
            assert page["results"] == []
            back = viewer.get(page[way]).json()
            assert [each["id"] for each in back["results"]] == expected


@pytest.mark.parametrize(
    "value", ["x", "0", "1" * 40, "{{7*7}}", "%00", "%F0%9F%92%A9", "a" * 3000, uuid.UUID(int=7)]
)
def test_malformed_and_unknown_ids_are_not_found_alike(value: object, viewer: Client) -> None:
    response = viewer.get(f"{JOBS}{value}/")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_list_costs_one_query_for_any_number_of_rows(viewer: Client) -> None:
    counts = []
    for more in (1, 59):
        for _ in range(more):
            make_job()
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(JOBS).status_code == 200
        ours = [query["sql"] for query in queries if "django_tasks_q_job" in query["sql"]]
        assert len(ours) == 1
        # Of jobs that were cancelled with a reason alone, for the secrets in it.
        assert ours[0].count('"arguments"') == 1
        assert 'ELSE "django_tasks_q_job"."arguments" END' in ours[0]
        assert '"result"' not in ours[0]
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 5


def test_detail_costs_the_same_for_any_number_of_attempts(viewer: Client) -> None:
    job = make_job(status="FAILED")
    with CaptureQueriesContext(connection) as queries:
        assert viewer.get(f"{JOBS}{job.id}/").status_code == 200
    assert len(queries) <= 5  # four of them for the session, the user and permissions
    counts = []
    for fences in ([1], range(2, 61)):
        for fence in fences:
            make_attempt(job, number=fence, fence=fence)
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(f"{JOBS}{job.id}/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 6


def test_all_addresses_have_the_version(viewer: Client) -> None:
    job = make_job()
    for path in ("jobs/", f"jobs/{job.id}/"):
        assert viewer.get(f"/api/tasks/v1/{path}").status_code == 200
        assert viewer.get(f"/api/tasks/{path}").status_code == 404


def test_without_permission_for_it_payload_is_null() -> None:
    job = make_job(arguments='[[1],{"a":2}]', result="3", metadata='{"a":1}', status="FAILED", attempts=1)
    make_attempt(job, message="secret", traceback="secret", data='"secret"', exception_class="x.Y")
    Progress.objects.create(job=job, fence=1, current=1, value='"secret"', updated_at=timezone.now())
    client = login("view_job")
    shown = client.get(f"{JOBS}{job.id}/").json()
    assert shown["payload_visible"] is False
    assert {shown[name] for name in ("args", "kwargs", "return_value", "metadata")} == {None}
    assert shown["progress"]["current"] == 1
    assert shown["attempt_history"][0]["exception_class"] == "x.Y"
    for path in ("", "attempts/", "progress/"):
        assert "secret" not in client.get(f"{JOBS}{job.id}/{path}").content.decode()
    assert client.get(f"{JOBS}{job.id}/logs/").status_code == 403


def test_secrets_are_masked_wherever_they_are() -> None:
    canary = "canary-5f3a"
    job = make_job(
        task_name=shown_task.name,
        arguments=json.dumps([[], {"api_token": canary, "plain": 1}]),
        result=json.dumps({"password": canary, "said": f"it was {canary}"}),
        metadata=json.dumps({"key": canary}),
    )
    make_attempt(job, message=f"no {canary}", traceback=f"in {canary}", data=json.dumps([canary]))
    Progress.objects.create(
        job=job, fence=1, message=f"at {canary}", value=json.dumps(canary), updated_at=timezone.now()
    )
    LogLine.objects.create(
        job=job, fence=1, level=20, logger="x", message=f"with {canary}", created_at=timezone.now()
    )
    client = login("view_job", "view_payload_job")
    for path in ("", "attempts/", "progress/", "logs/", "events/"):
        response = client.get(f"{JOBS}{job.id}/{path}", headers={"accept": "*/*"})
        assert response.status_code == 200
        text = response.getvalue().decode()
        assert canary not in text
        assert MASK in text
    assert client.get(f"{JOBS}{job.id}/").json()["kwargs"] == {"api_token": MASK, "plain": 1}
    other = login("view_job", name="other")
    for path in ("", "attempts/", "progress/", "events/"):
        assert canary not in other.get(f"{JOBS}{job.id}/{path}").getvalue().decode()


def test_times_parents_and_tags_choose(viewer: Client) -> None:
    parent = make_job(task_name="parent", tags='["a"]')
    child = make_job(task_name="child", parent_id=parent.id, tags='["a","b"]')
    now = timezone.now()

    def found(**parameters: object) -> list[str]:
        return [job["task"] for job in viewer.get(JOBS, parameters).json()["results"]]

    early = (now - timedelta(minutes=1)).isoformat()
    late = (now + timedelta(minutes=1)).isoformat()
    assert found(parent=parent.id) == ["child"]
    assert found(enqueued_after=early) == ["child", "parent"]
    assert found(enqueued_after=late) == found(enqueued_before=early) == []
    assert found(enqueued_before=late) == ["child", "parent"]
    assert found(tag="b", enqueued_after=early) == ["child"]
    assert viewer.get(f"{JOBS}{child.id}/").json()["tags"] == ["a", "b"]
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"):
        assert viewer.get(JOBS, {"enqueued_after": moment, "enqueued_before": moment}).status_code < 500
    for parameters in ({"tag": "b"}, {"parent": "x"}, {"enqueued_after": "yesterday"}):
        response = viewer.get(JOBS, parameters)
        assert response.status_code == 400
        assert list(response.json()) == list(parameters)


def test_log_lines_come_in_pages(viewer: Client) -> None:
    job = make_job()
    for number in range(60):
        LogLine.objects.create(
            job=job, fence=1, level=20, logger="x", message=str(number), created_at=timezone.now()
        )
    first = viewer.get(f"{JOBS}{job.id}/logs/").json()
    second = viewer.get(first["next"]).json()
    lines = first["results"] + second["results"]
    assert [line["message"] for line in lines] == [str(number) for number in range(60)]
    assert lines[0]["level"] == "INFO"
    assert viewer.get(f"{JOBS}{job.id}/logs/?cursor={cursor('p=x')}").status_code == 404


def test_polling_clients_get_304_while_nothing_changes(viewer: Client) -> None:
    job = make_job()
    for path in ("", "progress/"):
        first = viewer.get(f"{JOBS}{job.id}/{path}")
        assert first.headers["Retry-After"] == "1"
        assert first.headers["Cache-Control"] == "private, no-store"
        headers = {"if-none-match": first.headers["ETag"]}
        again = viewer.get(f"{JOBS}{job.id}/{path}", headers=headers)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        Job.objects.filter(id=job.id).update(status="RUNNING")
        changed = viewer.get(f"{JOBS}{job.id}/{path}", headers=headers)
        assert changed.status_code == 200
        assert changed.headers["ETag"] != first.headers["ETag"]
        Job.objects.filter(id=job.id).update(status="READY")
    Job.objects.filter(id=job.id).update(status="SUCCESSFUL")
    assert "Retry-After" not in viewer.get(f"{JOBS}{job.id}/").headers
    later = make_job(status="SCHEDULED", run_after=timezone.now() + timedelta(seconds=30))
    assert 25 <= int(viewer.get(f"{JOBS}{later.id}/").headers["Retry-After"]) <= 30


def test_long_poll_is_bounded_and_ends_with_the_job(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()
    began = time.monotonic()
    assert viewer.get(f"{JOBS}{job.id}/?wait=0.3").json()["status"] == "READY"
    assert 0.3 <= time.monotonic() - began < 2
    monkeypatch.setattr(jobs, "MAX_WAIT", 0.2)
    began = time.monotonic()
    assert viewer.get(f"{JOBS}{job.id}/?wait=1000").status_code == 200
    assert time.monotonic() - began < 2
    monkeypatch.setattr(jobs, "MAX_WAIT", 20)
    sleep = Waiter.sleep

    def finish(waiting: Waiter, seconds: float) -> None:
        Job.objects.filter(id=job.id).update(status="SUCCESSFUL")
        sleep(waiting, seconds)

    monkeypatch.setattr(Waiter, "sleep", finish)
    began = time.monotonic()
    assert viewer.get(f"{JOBS}{job.id}/?wait=20").json()["status"] == "SUCCESSFUL"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("value", ["x", "-1", "nan", "inf", "1e400", "", "1,5"])
def test_wait_must_be_a_number(value: str, viewer: Client) -> None:
    response = viewer.get(f"{JOBS}{make_job().id}/", {"wait": value})
    assert (response.status_code, list(response.json())) == (400, ["wait"])


def test_hostile_text_is_escaped_in_the_browsable_pages(viewer: Client) -> None:
    job = make_job(
        task_name=HOSTILE,
        queue_name=HOSTILE,
        backend=HOSTILE,
        error_code=HOSTILE,
        arguments=json.dumps([[HOSTILE], {HOSTILE: HOSTILE}]),
        result=json.dumps(HOSTILE),
    )
    make_attempt(job, error_code=HOSTILE, exception_class=HOSTILE, message=HOSTILE, traceback=HOSTILE)
    for url in (JOBS, f"{JOBS}{job.id}/"):
        content = viewer.get(url, headers={"accept": "text/html"}).content.decode()
        assert "&lt;script&gt;alert(1)" in content
        assert "<script>alert(1)" not in content
        assert "<svg" not in content
        assert "{{7*7}}" in content
        assert viewer.get(url).headers["content-type"] == "application/json"


def test_unregistered_names_are_shown_and_not_imported(viewer: Client) -> None:
    job = make_job(task_name="antigravity.fly", options='{"retry_on":["this.Zen"]}', error_code="x")
    make_attempt(job, exception_class="x.y")
    viewer.get(f"{JOBS}{job.id}/")  # imports what a first request needs
    before = set(sys.modules)
    assert viewer.get(f"{JOBS}?task=antigravity.fly").json()["results"][0]["task"] == "antigravity.fly"
    shown = viewer.get(f"{JOBS}{job.id}/").json()
    assert shown["attempt_history"][0]["exception_class"] == "x.y"
    assert set(sys.modules) == before
    assert not {"antigravity", "this", "x"} & before


def test_requests_are_throttled(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "django_tasks_q", "2/min")
    assert [viewer.get(JOBS).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.django_db(databases=["default", "postgres"])
def test_jobs_are_read_where_the_backend_writes_them(viewer: Client, settings: Settings) -> None:
    settings.TASKS = {
        "default": {"BACKEND": "django_tasks_q.backends.DatabaseBackend", "OPTIONS": {"DATABASE": "postgres"}}
    }
    make_job(task_name="of.default")
    now = timezone.now()
    fields = {"queue_name": "default", "backend": "default", "arguments": "[[],{}]", "enqueued_at": now}
    fields["fence"] = 1
    jobs = [Job.objects.using("postgres").create(task_name="of.postgres", **fields) for _ in range(3)]
    Attempt.objects.using("postgres").create(
        job=jobs[0], number=1, fence=1, outcome="failed", finished_at=now, message="in postgres"
    )
    first = viewer.get(f"{JOBS}?page_size=2&task=of.postgres").json()
    second = viewer.get(first["next"]).json()
    assert [job["id"] for job in first["results"] + second["results"]] == [str(job.id) for job in jobs[::-1]]
    assert viewer.get(f"{JOBS}{jobs[0].id}/").json()["attempt_history"][0]["message"] == "in postgres"
