import base64
import json
import sys
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from django_tasks_q.api import serializers, urls
from django_tasks_q.api.permissions import CanViewJobs
from django_tasks_q.models import Attempt, Job
from django_tasks_q.states import JobStatus

pytestmark = pytest.mark.django_db

JOBS = "/api/tasks/jobs/"
HOSTILE = "<script>alert(1)</script>\"'><svg onload=alert(1)>{{7*7}}"
LARGE = {"args", "kwargs", "return_value", "attempt_history", "arguments", "result"}


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def make_job(**fields: Any) -> Job:
    defaults = {
        "task_name": "shop.ship",
        "queue_name": "default",
        "backend": "default",
        "arguments": "[[],{}]",
        "enqueued_at": timezone.now(),
    }
    return Job.objects.create(**defaults | fields)


def make_attempt(job: Job, **fields: Any) -> Attempt:
    defaults = {"number": 1, "fence": 1, "outcome": "failed", "finished_at": timezone.now()}
    return Attempt.objects.create(job=job, **defaults | fields)


def login(*codenames: str, **flags: bool) -> Client:
    user = User.objects.create_user("user", **flags)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_tasks_q", codename__in=codenames)
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer() -> Client:
    return login("view_job")


def every_url() -> list[str]:
    job = make_job()
    return [
        reverse(f"django_tasks_q:{pattern.name}", args=[job.pk] if pattern.pattern.converters else [])
        for pattern in urls.urlpatterns
    ]


def test_project_default_is_open() -> None:
    # What the other tests rely on: these views are closed although nothing around them is.
    (permission,) = api_settings.DEFAULT_PERMISSION_CLASSES
    assert permission is AllowAny


def test_every_view_says_for_itself_what_project_defaults_must_not() -> None:
    for pattern in urls.urlpatterns:
        view: type[APIView] = pattern.callback.cls  # type: ignore[union-attr]
        ours = [base for base in view.__mro__ if base.__module__.startswith("django_tasks_q.")]
        said = {name for base in ours for name in vars(base)}
        assert CanViewJobs in view.permission_classes
        assert said >= {"throttle_classes", "filter_backends", "pagination_class", "versioning_class"}
        assert not said & {"authentication_classes", "renderer_classes"}


@pytest.mark.parametrize("method", ["get", "head", "options", "post", "put", "patch", "delete"])
def test_nobody_without_permission_gets_anything(method: str, client: Client) -> None:
    insider = login("view_worker", "view_attempt", is_staff=True)
    for url in every_url():
        assert getattr(client, method)(url).status_code in (401, 403), url
        assert getattr(insider, method)(url).status_code == 403, url


def test_inactive_user_is_refused() -> None:
    request = RequestFactory().get(JOBS)
    for user in (AnonymousUser(), User(username="gone", is_active=False, is_superuser=True)):
        request.user = user
        assert not CanViewJobs().has_permission(request, None)  # type: ignore[arg-type]


def test_viewer_reads_and_cannot_write(viewer: Client) -> None:
    urls = every_url()
    before = list(Job.objects.values())
    for url in urls:
        for method in ("get", "head", "options"):
            assert getattr(viewer, method)(url).status_code == 200
        for method in ("post", "put", "patch", "delete"):
            assert getattr(viewer, method)(url).status_code == 405
    assert list(Job.objects.values()) == before


def test_list_has_what_is_small(viewer: Client) -> None:
    job = make_job(status=JobStatus.FAILED, queue_name="emails", attempts=2, error_code="SMTPException")
    body = viewer.get(JOBS).json()
    assert set(body) == {"next", "previous", "results"}
    (shown,) = body["results"]
    assert shown["id"] == str(job.id)
    assert (shown["task"], shown["queue"], shown["status"]) == ("shop.ship", "emails", "FAILED")
    assert (shown["attempts"], shown["max_attempts"], shown["error_code"]) == (2, 1, "SMTPException")
    assert not LARGE & set(shown)


def test_detail_adds_arguments_result_and_attempts(viewer: Client) -> None:
    job = make_job(arguments='[[1,"Zoë"],{"notify":true}]', result='{"sum":3}', attempts=2, fence=2)
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
    jobs = [make_job() for _ in range(120)]
    pages, url = [], JOBS
    while url:
        body = viewer.get(url).json()
        pages.append([job["id"] for job in body["results"]])
        last, url = body, body["next"]
        make_job()  # arrives while pages are turned, and shifts none
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [id for page in pages for id in page] == [str(job.id) for job in reversed(jobs)]
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


@pytest.mark.parametrize(
    "value", ["x", "0", "1" * 40, "{{7*7}}", "%00", "%F0%9F%92%A9", "a" * 3000, uuid.UUID(int=7)]
)
def test_malformed_and_unknown_ids_are_not_found_alike(value: object, viewer: Client) -> None:
    response = viewer.get(f"{JOBS}{value}/")
    assert response.status_code == 404
    assert list(response.json()) == ["detail"]


def test_list_costs_one_query_for_any_number_of_rows(viewer: Client) -> None:
    counts = []
    for more in (1, 59):
        for _ in range(more):
            make_job()
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(JOBS).status_code == 200
        ours = [query["sql"] for query in queries if "django_tasks_q_job" in query["sql"]]
        assert len(ours) == 1
        assert '"arguments"' not in ours[0]
        assert '"result"' not in ours[0]
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 5


def test_detail_costs_the_same_for_any_number_of_attempts(viewer: Client) -> None:
    job = make_job()
    counts = []
    for fences in ([1], range(2, 61)):
        for fence in fences:
            make_attempt(job, number=fence, fence=fence)
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(f"{JOBS}{job.id}/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 6


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
    jobs = [Job.objects.using("postgres").create(task_name="of.postgres", **fields) for _ in range(3)]
    Attempt.objects.using("postgres").create(
        job=jobs[0], number=1, fence=1, outcome="failed", finished_at=now, message="in postgres"
    )
    first = viewer.get(f"{JOBS}?page_size=2&task=of.postgres").json()
    second = viewer.get(first["next"]).json()
    assert [job["id"] for job in first["results"] + second["results"]] == [str(job.id) for job in jobs[::-1]]
    assert viewer.get(f"{JOBS}{jobs[0].id}/").json()["attempt_history"][0]["message"] == "in postgres"
