import json
import sys
import uuid
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from django_tasks_q.admin import text
from django_tasks_q.admin.attempts import LatestAttempts
from django_tasks_q.admin.readonly import CappedPaginator
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.states import JobStatus

pytestmark = pytest.mark.django_db

JOBS = "/admin/django_tasks_q/job/"
WORKERS = "/admin/django_tasks_q/worker/"
HOSTILE = "<script>alert(1)</script>\"'><svg onload=alert(1)>{{7*7}}"


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


def make_worker(**fields: Any) -> Worker:
    now = timezone.now()
    defaults = {
        "name": "web-1",
        "hostname": "web-1.example",
        "pid": 1,
        "backend": "default",
        "processes": 2,
        "version": "1",
        "started_at": now,
        "heartbeat_at": now,
        "lease_expires_at": now + timedelta(minutes=1),
    }
    return Worker.objects.create(**defaults | fields)


def page(row: Job | Worker) -> str:
    url: str = reverse(f"admin:django_tasks_q_{row._meta.model_name}_change", args=[row.pk])
    return url


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_tasks_q", codename__in=codenames)
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def viewer() -> Client:
    return staff("view_job", "view_worker")


class Page(HTMLParser):
    """What a browser would run or show of a response."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.text = self.code = ""
        self.inline: list[str] = []
        self.tags: list[str] = []
        self.feed(response.content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inline += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("script", "style"):
            self.code += data.strip()
        else:
            self.text += data


def urls_of(row: Job | Worker) -> list[str]:
    """Every address that the admin has for the row's model."""
    patterns = [pattern for pattern in site._registry[type(row)].get_urls() if pattern.name]
    assert len(patterns) >= 5
    return [
        reverse(f"admin:{pattern.name}", args=[row.pk] if pattern.pattern.converters else [])
        for pattern in patterns
    ]


@pytest.mark.parametrize("make", [make_job, make_worker])
def test_anonymous_is_sent_to_login(make: Any, client: Client) -> None:
    for url in urls_of(make()):
        response = client.get(url)
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")


@pytest.mark.parametrize("make", [make_job, make_worker])
def test_staff_without_permission_is_refused(make: Any) -> None:
    client = staff()
    for url in urls_of(make()):
        assert client.get(url).status_code == 403, url
        assert client.post(url).status_code == 403, url


@pytest.mark.parametrize("make", [make_job, make_worker])
def test_viewer_sees_and_changes_nothing(make: Any, viewer: Client) -> None:
    row = make()
    before = type(row).objects.values().get()
    for url in urls_of(row):
        writes = url.endswith(("/add/", "/delete/"))
        assert viewer.get(url).status_code == (403 if writes else 200), url
        if not url.endswith("/history/"):
            posted = viewer.post(url, {"task_name": "other", "name": "other", "action": "delete_selected"})
            assert posted.status_code in (200, 403), url
    assert type(row).objects.values().get() == before


def test_even_a_superuser_has_no_button_that_writes(admin_client: Client) -> None:
    job = make_job(status=JobStatus.FAILED, fence=1)
    make_attempt(job)
    for url in (JOBS, page(job)):
        content = admin_client.get(url).content.decode()
        for name in ('name="_save"', 'name="action"', "deletelink", "addlink"):
            assert name not in content.split('id="main"')[-1].split('id="content"')[-1], name


def test_permission_for_jobs_opens_no_workers() -> None:
    client = staff("view_job")
    assert client.get(JOBS).status_code == 200
    assert client.get(WORKERS).status_code == 403


def test_hostile_text_in_every_column_is_only_text(viewer: Client) -> None:
    job = make_job(
        task_name=HOSTILE,
        queue_name=HOSTILE,
        backend=HOSTILE,
        status=JobStatus.FAILED,
        error_code=HOSTILE,
        arguments=json.dumps([[HOSTILE], {HOSTILE: HOSTILE}]),
        result=json.dumps(HOSTILE),
        options=json.dumps({"retry_on": [HOSTILE]}),
        fence=1,
        attempts=1,
    )
    make_attempt(
        job,
        outcome="<i>{{7*7}}",
        error_code=HOSTILE,
        exception_class=HOSTILE,
        message=HOSTILE,
        traceback=HOSTILE,
    )
    worker = make_worker(
        name=HOSTILE, hostname=HOSTILE, backend=HOSTILE, queues=json.dumps([HOSTILE]), version="<i>{{7*7}}"
    )
    shown = {url: Page(viewer.get(url)) for url in (JOBS, page(job), WORKERS, page(worker))}
    for url, found in shown.items():
        assert HOSTILE in found.text, url
        assert "i" not in found.tags, url
        assert found.inline == [], url
        assert "alert" not in found.code, url
    assert shown[page(job)].text.count(HOSTILE) >= 8


def test_page_needs_no_inline_code_of_ours(viewer: Client) -> None:
    job = make_job(status=JobStatus.FAILED, fence=1, result="1")
    make_attempt(job, traceback="Traceback", message="no")
    shown = Page(viewer.get(page(job)))
    assert (shown.inline, shown.code) == ([], "")


def test_unregistered_names_are_shown_and_not_imported(viewer: Client) -> None:
    job = make_job(
        task_name="antigravity.fly", status=JobStatus.FAILED, fence=1, options='{"retry_on":["this.Zen"]}'
    )
    make_attempt(job, exception_class="x.y")
    viewer.get(JOBS), viewer.get(page(job))  # imports what a first page needs
    before = set(sys.modules)
    assert "antigravity.fly" in Page(viewer.get(JOBS)).text
    shown = Page(viewer.get(page(job))).text
    assert "antigravity.fly" in shown
    assert "x.y" in shown
    assert set(sys.modules) == before
    assert not {"antigravity", "this", "x"} & before


@pytest.mark.parametrize("make, url", [(make_job, JOBS), (make_worker, WORKERS)])
def test_list_costs_the_same_for_any_number_of_rows(make: Any, url: str, viewer: Client) -> None:
    counts = []
    for more in (1, 59):
        for _ in range(more):
            make()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert viewer.get(url).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 6


def test_detail_costs_the_same_for_any_number_of_attempts(viewer: Client) -> None:
    job = make_job(status=JobStatus.FAILED, fence=60, attempts=60)
    viewer.get(page(job))
    counts = []
    for fences in ([1], range(2, 61)):
        for fence in fences:
            make_attempt(job, number=fence, fence=fence)
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(page(job)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[1] <= 6


def test_list_leaves_payload_in_the_database(viewer: Client) -> None:
    make_job(arguments='[["needle"],{}]', result='"needle"')
    with CaptureQueriesContext(connection) as queries:
        assert "needle" not in viewer.get(JOBS).content.decode()
    for query in queries:
        assert '"arguments"' not in query["sql"]
        assert '"result"' not in query["sql"]


def test_list_shows_newest_first_and_turns_pages(viewer: Client) -> None:
    jobs = [make_job(task_name=f"task.number{n:03}") for n in range(60)]
    first = viewer.get(JOBS).context["cl"].result_list
    assert [job.pk for job in first] == [job.pk for job in reversed(jobs[10:])]
    second = viewer.get(f"{JOBS}?p=2").context["cl"].result_list
    assert [job.pk for job in second] == [job.pk for job in reversed(jobs[:10])]


@pytest.mark.parametrize("number", ["0", "-1", "3", "x", "9" * 30, "9" * 5000])
def test_page_out_of_range_is_no_error(number: str, viewer: Client) -> None:
    make_job()
    assert viewer.get(JOBS, {"p": number}, follow=True).status_code == 200


def test_count_is_capped(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CappedPaginator, "maximum", 55)
    for _ in range(55):
        make_job()
    response = viewer.get(JOBS)
    assert response.context["cl"].result_count == 55
    assert "There are more" not in response.content.decode()
    for _ in range(5):
        make_job()
    with CaptureQueriesContext(connection) as queries:
        response = viewer.get(JOBS)
    assert response.context["cl"].result_count == 55
    assert "There are more than 55" in response.content.decode()
    assert [
        query["sql"] for query in queries if "COUNT(" in query["sql"] and "LIMIT 56" not in query["sql"]
    ] == []
    assert len(viewer.get(f"{JOBS}?p=2").context["cl"].result_list) == 5


def test_filters_choose_without_looking_at_the_table(viewer: Client) -> None:
    failed = make_job(status=JobStatus.FAILED, queue_name="emails")
    make_job(status=JobStatus.READY)
    for query in ("status__exact=FAILED", "queue=emails"):
        with CaptureQueriesContext(connection) as queries:
            response = viewer.get(f"{JOBS}?{query}")
        assert [job.pk for job in response.context["cl"].result_list] == [failed.pk]
        assert not [query for query in queries if "DISTINCT" in query["sql"]]


@pytest.mark.parametrize(
    "query",
    [
        "arguments__icontains=a",
        "result__regex=(a%2B)%2B",
        "task_name=x",
        "task_name__icontains=x",
        "status__exact=NONE",
        "status__exact=%00",
        "queue=%00",
        "queue=no-such-queue",
        "attempt__traceback__contains=x",
        "worker_id__exact=x",
        "nonsense=1",
    ],
)
def test_other_lookups_are_refused(query: str, viewer: Client) -> None:
    assert viewer.get(f"{JOBS}?{query}").status_code == 400


@pytest.mark.parametrize("make, url", [(make_job, JOBS), (make_worker, WORKERS)])
def test_columns_cannot_be_sorted_by(make: Any, url: str, viewer: Client) -> None:
    make()
    orders = set()
    for query in ("", *(f"?o={sign}{column}" for column in range(12) for sign in ("", "-")), "?o=x"):
        with CaptureQueriesContext(connection) as queries:
            response = viewer.get(f"{url}{query}")
        assert response.status_code == 200
        assert "sortable" not in response.content.decode()
        orders |= {query["sql"].partition("ORDER BY")[2] for query in queries}
    assert len(orders - {""}) == 1


@pytest.mark.parametrize("term, found", [("{id}", 1), (" {id} ", 1), ("shop.ship", 0), ("%", 0), ("\x00", 0)])
def test_search_is_for_exactly_one_id(term: str, found: int, viewer: Client) -> None:
    job = make_job()
    make_job()
    response = viewer.get(JOBS, {"q": term.format(id=job.id)})
    expected = found if "\x00" not in term else 2  # Django says what is wrong, and searches for nothing
    assert response.context["cl"].result_count == expected


@pytest.mark.parametrize("bad", ["x", "0", "..", "{{7*7}}", "a" * 3000, str(uuid.UUID(int=7)), "_00"])
def test_malformed_or_unknown_id_leads_back(bad: str, viewer: Client) -> None:
    for model in ("job", "worker"):
        for view in ("change", "history"):
            response = viewer.get(f"/admin/django_tasks_q/{model}/{bad}/{view}/")
            assert response.status_code in (302, 404)


def test_detail_shows_arguments_result_and_attempts(viewer: Client) -> None:
    job = make_job(
        arguments='[[1,"Zoë"],{"notify":true}]',
        result='{"sum":[1,2]}',
        status=JobStatus.FAILED,
        attempts=2,
        max_attempts=5,
        fence=2,
    )
    for number in (1, 2):
        make_attempt(
            job,
            number=number,
            fence=number,
            exception_class="builtins.ValueError",
            message=f"message of {number}",
            traceback=f"traceback of {number}\n  indented",
            duration=1.25,
        )
    shown = Page(viewer.get(page(job))).text
    assert '[\n  1,\n  "Zoë"\n]' in shown
    assert '{\n  "notify": true\n}' in shown
    assert '{\n  "sum": [\n    1,\n    2\n  ]\n}' in shown
    assert "2/5" in shown
    assert "1.25 s" in shown
    assert shown.index("message of 2") < shown.index("message of 1")
    assert "traceback of 1\n  indented" in shown


def test_detail_shows_the_latest_attempts_of_very_many(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LatestAttempts, "maximum", 2)
    job = make_job(status=JobStatus.FAILED, attempts=3, fence=3)
    for number in (1, 2, 3):
        make_attempt(job, number=number, fence=number)
    shown = Page(viewer.get(page(job))).text
    assert "#3 failed" in shown
    assert "#2 failed" in shown
    assert "#1 failed" not in shown


def test_attempts_are_left_out_where_there_can_be_none(viewer: Client) -> None:
    waiting = make_job()
    succeeded = make_job(status=JobStatus.SUCCESSFUL, attempts=1, fence=1, result="null")
    for job in (waiting, succeeded):
        assert "attempt_set" not in viewer.get(page(job)).content.decode()


def test_unreadable_payload_is_shown_as_it_is(viewer: Client) -> None:
    job = make_job(arguments="[[1", result='{"a":')
    shown = Page(viewer.get(page(job))).text
    assert "[[1" in shown
    assert '{"a":' in shown


def test_large_payload_is_cut(viewer: Client) -> None:
    job = make_job(arguments=json.dumps([["a" * 100_000], {}]), result=json.dumps([[[0]]] * 50_000))
    response = viewer.get(page(job))
    assert "more characters" in Page(response).text
    assert len(response.content) < 100_000


def test_retrying_is_told_from_scheduled(viewer: Client) -> None:
    make_job(status=JobStatus.SCHEDULED, attempts=1, fence=1)
    make_job(status=JobStatus.SCHEDULED)
    badges = viewer.get(JOBS).content.decode().split("tasks-badge")[1:]
    assert "Scheduled" in badges[0].split("</span>")[0]
    assert "Retrying" in badges[1].split("</span>")[0]


@pytest.mark.parametrize(
    "fields, state",
    [
        ({}, "Alive"),
        ({"lease_expires_at": timezone.now() - timedelta(days=1)}, "Late"),
        ({"stopped_at": timezone.now()}, "Stopped"),
    ],
)
def test_worker_is_judged_by_its_lease(fields: dict[str, Any], state: str, viewer: Client) -> None:
    worker = make_worker(**fields)
    assert f">{state}</span>" in viewer.get(WORKERS).content.decode()
    assert f">{state}</span>" in viewer.get(page(worker)).content.decode()


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0, "0 ms"),
        (0.01234, "12.3 ms"),
        (1.5, "1.5 s"),
        (59.99, "60 s"),
        (75, "1 min 15 s"),
        (4000, "1 h 6 min"),
    ],
)
def test_duration_is_in_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.django_db(databases=["default", "postgres"])
def test_jobs_are_read_where_the_backend_writes_them(viewer: Client, settings: Settings) -> None:
    make_job(task_name="of.default")
    settings.TASKS = {
        "default": {"BACKEND": "django_tasks_q.backends.DatabaseBackend", "OPTIONS": {"DATABASE": "postgres"}}
    }
    now = timezone.now()
    job = Job.objects.using("postgres").create(
        task_name="of.postgres",
        queue_name="default",
        backend="default",
        arguments="[[],{}]",
        enqueued_at=now,
        status=JobStatus.FAILED,
        fence=1,
    )
    Attempt.objects.using("postgres").create(
        job=job, number=1, fence=1, outcome="failed", finished_at=now, message="in postgres"
    )
    shown = Page(viewer.get(JOBS)).text
    assert "of.postgres" in shown
    assert "of.default" not in shown
    assert "in postgres" in Page(viewer.get(page(job))).text
    assert viewer.get(f"{JOBS}?q={job.id}").context["cl"].result_count == 1
    assert viewer.get(WORKERS).status_code == 200


def test_jobs_are_read_by_the_router_without_a_backend_of_ours(viewer: Client, settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.DummyBackend"}}
    make_job(task_name="of.default")
    assert "of.default" in Page(viewer.get(JOBS)).text
