import json
import re
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import ModelAdmin, site
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from django_tasks_q import task
from django_tasks_q.admin import JobScreens, charts, counts, formatting, job_list
from django_tasks_q.admin import worker_display as people
from django_tasks_q.models import Job, LogLine, Progress, Queue, Statistic

from .admin_support import (
    BASE,
    DASHBOARD,
    FAILED,
    HOSTILE,
    JOBS,
    QUEUES,
    SCREENS,
    TASKS,
    WORKERS,
    Page,
    make_attempt,
    make_everything,
    make_failed,
    make_job,
    make_worker,
    page,
    staff,
)

pytestmark = pytest.mark.django_db

VIEWER = ("view_job", "view_worker", "view_queue", "view_payload_job")


@pytest.fixture
def viewer() -> Client:
    return staff(*VIEWER)


def own_queries(queries: CaptureQueriesContext) -> list[str]:
    """Return the queries without those of Django's authentication."""
    who = ("django_session", "auth_", "SAVEPOINT", "django_content_type")
    return [
        query["sql"]
        for query in queries
        if not any(part in query["sql"].partition("WHERE")[0] for part in who)
    ]


# Who may view


def test_anonymous_user_is_redirected_to_login(client: Client) -> None:
    job, worker = make_failed(), make_worker()
    for url in (*SCREENS, page(job), page(worker), f"{JOBS}actions/retry/", f"{JOBS}{job.pk}/again/"):
        response = client.get(url)
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")


def test_staff_without_permission_is_refused() -> None:
    client = staff()
    for url in (*SCREENS, page(make_failed()), page(make_worker())):
        assert client.get(url).status_code == 403, url
        assert client.post(url).status_code == 403, url


@pytest.mark.parametrize(
    "codename, opens",
    [
        ("view_job", {DASHBOARD, JOBS, FAILED, TASKS}),
        ("view_queue", {QUEUES}),
        ("view_worker", {WORKERS}),
        ("retry_job", set()),
        ("change_job", set()),
    ],
)
def test_each_screen_has_its_permission(codename: str, opens: set[str]) -> None:
    client = staff(codename)
    assert {url for url in SCREENS if client.get(url).status_code == 200} == opens


def test_rows_are_not_added_edited_or_deleted_by_forms(admin_client: Client) -> None:
    job = make_failed()
    before = Job.objects.values().get()
    for name in ("job", "queue", "worker"):
        assert admin_client.get(f"{BASE}{name}/add/").status_code == 403
        assert admin_client.post(f"{BASE}{name}/add/", {}).status_code == 403
    assert admin_client.post(f"{JOBS}{job.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin_client.post(page(job), {"task_name": "other"}).status_code == 405
    assert (
        admin_client.post(JOBS, {"action": "delete_selected", "_selected_action": job.pk}).status_code == 405
    )
    assert Job.objects.values().get() == before


@task(name="admin.shown")
def shown_task(*args: object, **kwargs: object) -> None:
    pass


def test_payload_needs_its_own_permission() -> None:
    job = make_failed(task_name=shown_task.name, arguments='[["needle"],{}]', result='"needle"')
    make_attempt(job, fence=2, message="needle", traceback="needle", exception_class="x.Y")
    LogLine.objects.create(
        job=job, fence=2, level=20, logger="x", message="needle", created_at=timezone.now()
    )
    without, with_it = staff("view_job"), staff("view_job", "view_payload_job", name="other")
    for url in (JOBS, f"{JOBS}?export=csv", page(job), FAILED):
        assert "needle" not in without.get(url).content.decode(), url
        assert "needle" in with_it.get(url).content.decode(), url
    assert "permission to view" in without.get(page(job)).content.decode()


def test_secrets_are_shown_nowhere(viewer: Client) -> None:
    secret = "hunter2-canary"
    job = make_failed(
        arguments=json.dumps([[], {"password": secret, "nested": {"api_key": secret}}]),
        result=json.dumps({"token": secret}),
        metadata=json.dumps({"secret": secret}),
    )
    make_attempt(job, fence=2, message=f"bad {secret}", traceback=f"bad {secret}", exception_class="x.Y")
    LogLine.objects.create(job=job, fence=2, level=20, logger="x", message=secret, created_at=timezone.now())
    running = make_job(status="RUNNING", arguments=json.dumps([[], {"password": secret}]))
    Progress.objects.create(job=running, fence=1, message=f"with {secret}", updated_at=timezone.now())
    again = staff(*VIEWER, "add_job", name="again")
    for url in (*SCREENS, page(job), page(running), f"{JOBS}?export=csv", f"{JOBS}{job.pk}/again/"):
        response = again.get(url)
        assert response.status_code == 200
        assert secret not in response.content.decode(), url
        assert response["Cache-Control"].count("no-store") == 1
    assert "********" in again.get(page(job)).content.decode()


def scope_of_tests(request: Any, jobs: Any) -> Any:
    return jobs.filter(queue_name=request.user.username)


@pytest.fixture
def tenants(settings: Settings) -> None:
    options = {"SCOPE_JOBS": "tests.test_admin.scope_of_tests"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}


def test_tenants_see_and_change_their_own_jobs_only(tenants: None) -> None:
    theirs = make_failed(task_name="theirs.canary", queue_name="other")
    mine = make_failed(task_name="mine", queue_name="tenant", parent_id=theirs.pk)
    Statistic.objects.create(
        backend="default",
        moment=timezone.now(),
        queue_name="other",
        task_name="theirs.canary",
        successful=5,
    )
    client = staff(*VIEWER, "retry_job", "delete_job", "add_job", name="tenant")
    for url in (*SCREENS, page(mine), f"{JOBS}?status=failed", f"{JOBS}?export=csv"):
        assert "theirs.canary" not in client.get(url).content.decode(), url
    assert "mine" in client.get(JOBS).content.decode()
    assert client.get(page(theirs)).status_code == 302
    assert client.get(f"{JOBS}{theirs.pk}/again/").status_code == 302
    for chosen in ({"ids": f"{theirs.pk} {mine.pk}"}, {"matching": "status=failed"}):
        Job.objects.filter(pk=mine.pk).update(status="FAILED")
        client.post(f"{JOBS}actions/retry/", {**chosen, "confirmed": "1"})
        assert dict(Job.objects.values_list("task_name", "status")) == {
            "theirs.canary": "FAILED",
            "mine": "READY",
        }


# What is shown


def test_hostile_text_in_every_column_is_only_text() -> None:
    job, worker = make_everything(HOSTILE)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    shown = {url: Page(client.get(url)) for url in (*SCREENS, page(job), page(worker))}
    for chosen in ("retry", "delete", "cancel"):
        answer = client.post(f"{JOBS}actions/{chosen}/", {"matching": "status=failed"})
        shown[chosen] = Page(answer)
    shown["queue"] = Page(client.post(f"{QUEUES}actions/pause/", {"backend": "default", "queue": HOSTILE}))
    for url, found in shown.items():
        assert url == TASKS or url == "cancel" or HOSTILE in found.text, url
        assert "i" not in found.tags, url
        assert "svg onload" not in " ".join(found.tags), url
        assert found.inline == [], url
        assert "alert" not in found.code, url
    assert shown[page(job)].text.count(HOSTILE) >= 12


def test_pages_need_no_inline_code(viewer: Client) -> None:
    job = make_failed(result="1")
    for url in (*SCREENS, page(job)):
        shown = Page(viewer.get(url))
        assert (shown.inline, shown.code) == ([], ""), url


def test_unregistered_names_are_shown_and_not_imported(viewer: Client) -> None:
    job = make_failed(task_name="antigravity.fly", options='{"retry_on":["this.Zen"]}')
    make_attempt(job, fence=2, exception_class="x.y")
    urls = (*SCREENS, page(job))
    for url in urls:
        viewer.get(url)  # imports what a first page needs
    before = set(sys.modules)
    for url in urls:
        viewer.get(url)
    assert "antigravity.fly" in Page(viewer.get(page(job))).text
    assert set(sys.modules) == before
    assert not {"antigravity", "this", "x"} & before


@pytest.mark.parametrize("url", SCREENS)
def test_queries_of_a_screen_do_not_depend_on_the_number_of_rows(url: str, viewer: Client) -> None:
    viewer.get(url)
    counts = []
    for more in (1, 29):
        for number in range(more):
            make_failed(task_name=f"task{more}.{number}")
            make_worker()
            make_job(status="RUNNING", queue_name=f"queue{more}.{number}")
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(url).status_code == 200
        counts.append(len(own_queries(queries)))
    assert counts[0] == counts[1]
    # Queues are read by state and backend.
    assert counts[1] <= (16 if url in (DASHBOARD, QUEUES) else 6)


def test_queries_of_a_job_do_not_depend_on_its_related_rows(viewer: Client) -> None:
    parent = make_job()
    job = make_failed(parent_id=parent.pk, worker_id=make_worker().pk)
    Progress.objects.create(job=job, fence=1, updated_at=timezone.now())
    viewer.get(page(job))
    counts = []
    for fences in ([2], range(3, 60)):
        for fence in fences:
            make_attempt(job, number=fence, fence=fence)
            make_job(parent_id=job.pk)
            LogLine.objects.create(
                job=job, fence=1, level=20, logger="x", message="line", created_at=timezone.now()
            )
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(page(job)).status_code == 200
        counts.append(len(own_queries(queries)))
    assert counts[0] == counts[1] <= 6


def test_nothing_is_counted_without_bound(viewer: Client) -> None:
    make_failed()
    for url in (*SCREENS, f"{JOBS}?status=cancelled&task=x", f"{JOBS}?tag=x"):
        with CaptureQueriesContext(connection) as queries:
            viewer.get(url)
        for sql in own_queries(queries):
            # A small one that is the same on every page is the bound of a search.
            assert all(int(offset) < job_list.REACH for offset in re.findall(r"OFFSET (\d+)", sql)), sql
            assert "DISTINCT" not in sql
            assert "COUNT(" not in sql or sql.count("LIMIT") >= sql.count("COUNT("), sql


def test_list_does_not_read_long_payload(viewer: Client) -> None:
    make_job(arguments=json.dumps([["needle" + "x" * 3000], {}]), result='"needle"')
    with CaptureQueriesContext(connection) as queries:
        assert "needle" not in viewer.get(JOBS).content.decode()
    for sql in own_queries(queries):
        assert '"result"' not in sql.partition("FROM")[0]


def test_counts_are_capped(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "CAP", 5)
    for _ in range(8):
        make_job()
    make_failed()
    content = " ".join(Page(viewer.get(JOBS)).text.split())
    assert "Ready 5+" in content
    assert "Failed 1" in content


# Pages and filters


def rows(response: Any) -> list[str]:
    return [str(row["job"].pk) for row in response.context_data["rows"]]


@pytest.mark.parametrize("status", ["", "ready", "scheduled"])
def test_pages_continue_after_the_last_row(status: str, viewer: Client) -> None:
    now = timezone.now()
    for number in range(120):
        make_job(
            status=status.upper() or "SUCCESSFUL",
            priority=number % 3,
            run_after=now + timedelta(seconds=number % 7),
            backend=f"backend{number % 2}",
        )
    url, seen, pages = f"{JOBS}?status={status}", [], 0
    while url:
        response = viewer.get(url)
        seen += rows(response)
        pages += 1
        url = response.context_data["next_url"] and JOBS + response.context_data["next_url"]
    assert pages == 3
    assert len(seen) == len(set(seen)) == 120


def test_ready_jobs_are_listed_in_the_order_of_claims(viewer: Client) -> None:
    low, high = make_job(priority=1), make_job(priority=9)
    assert rows(viewer.get(f"{JOBS}?status=ready")) == [str(high.pk), str(low.pk)]


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "9" * 5000,
        "W10",
        "bnVsbA",
        "WyJ4Il0",
        "%00",
        "eyJhIjoxfQ",
        "WzEsMiwzXQ",
        "W1siYSJdXQ",
        "W251bGxd",
        "é",
    ],
)
@pytest.mark.parametrize("tab", ["", "ready", "scheduled", "failed"])
def test_bad_page_token_gives_the_first_page_with_a_message(token: str, tab: str, viewer: Client) -> None:
    job = make_failed()
    make_job()
    response = viewer.get(JOBS, {"after": token, "status": tab})
    assert response.status_code == 200
    assert "This page does not exist" in response.content.decode()
    assert tab not in ("", "failed") or str(job.pk) in rows(response)


@pytest.mark.parametrize(
    "query",
    [
        "status=NONE",
        "status=%00",
        "status=ready%20",
        "task=%00",
        "task=" + "x" * 300,
        "queue=a%0Ab",
        "tag=" + "x" * 100,
        "worker=x",
        "worker=00000000-0000-0000-0000-00000000000g",
        "window=1y",
        "since=yesterday",
        "since=2026-13-45T99:99",
        "since=0001-01-01",
        "until=9999-12-31T23:59",
        "until=" + "9" * 400,
        "dismissed=maybe",
        "arguments__icontains=a",
        "result__regex=(a%2B)%2B",
        "nonsense=1",
        "p=1&o=-3",
        "status=%ff%fe",
    ],
)
def test_bad_filter_gives_a_page_with_a_message(query: str, viewer: Client) -> None:
    make_job(status="SUCCESSFUL")
    response = viewer.get(f"{JOBS}?{query}")
    assert response.status_code == 200
    assert query.startswith("status=ready%20") or "was ignored" in response.content.decode()
    for url in (DASHBOARD, FAILED, TASKS, QUEUES, WORKERS):
        assert viewer.get(f"{url}?{query}&span={query}").status_code == 200


@pytest.mark.parametrize(
    "bad", ["x", "0", "..", "{{7*7}}", "a" * 3000, str(uuid.UUID(int=7)), "_00", "é", "%00"]
)
def test_malformed_or_unknown_id_redirects_with_a_message(bad: str, viewer: Client) -> None:
    for model in ("job", "worker"):
        for view in ("change", "history"):
            response = viewer.get(f"{BASE}{model}/{bad}/{view}/")
            assert response.status_code in (302, 404)
    response = viewer.get(JOBS, {"id": bad}, follow=True)
    assert response.status_code == 200
    assert "No job has this id" in response.content.decode()


def test_a_job_is_found_by_its_id(viewer: Client) -> None:
    job = make_job()
    assert viewer.get(JOBS, {"id": f" {job.pk} "}).url == page(job)


def test_filters_find(viewer: Client) -> None:
    now = timezone.now()
    worker = uuid.uuid4()
    jobs = {
        "status=failed": make_failed(),
        "task=one.task": make_job(task_name="one.task"),
        "queue=emails": make_job(queue_name="emails"),
        "tag=blue": make_job(tags='["blue"]'),
        f"worker={worker}": make_job(worker_id=worker, status="RUNNING"),
        "status=retrying": make_job(status="SCHEDULED", attempts=1, run_after=now),
    }
    old = make_job(id=job_list.id_of(now - timedelta(days=9)), status="SUCCESSFUL")
    for query, job in jobs.items():
        assert rows(viewer.get(f"{JOBS}?{query}")) == [str(job.pk)], query
    assert str(old.pk) not in rows(viewer.get(JOBS))
    assert str(old.pk) in rows(viewer.get(f"{JOBS}?window=30d"))
    day = (now - timedelta(days=8)).strftime("%Y-%m-%dT%H:%M")
    assert rows(viewer.get(f"{JOBS}?window=all&until={day}")) == [str(old.pk)]


def test_a_bounded_search_says_where_it_stopped(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_list, "REACH", 10)
    wanted = make_job(task_name="rare", status="SUCCESSFUL")
    for _ in range(15):
        make_job(status="SUCCESSFUL")
    first = viewer.get(f"{JOBS}?task=rare")
    assert rows(first) == []
    assert "The next page searches older jobs." in first.content.decode()
    second = viewer.get(JOBS + first.context_data["next_url"])
    assert rows(second) == [str(wanted.pk)]


def test_export_is_the_page_and_no_formula(viewer: Client) -> None:
    make_failed(task_name="=cmd()", queue_name="@x")
    response = viewer.get(f"{JOBS}?status=failed&export=csv")
    assert response["Content-Type"].startswith("text/csv")
    lines = response.content.decode().splitlines()
    assert len(lines) == 2
    assert ",'=cmd(),'@x," in lines[1]


def test_fragment_is_only_the_refreshed_part(viewer: Client) -> None:
    job = make_job()
    for url in (DASHBOARD, JOBS, FAILED, QUEUES, WORKERS, page(job)):
        whole = viewer.get(url).content.decode()
        part = viewer.get(url, headers={"X-Tasks-Fragment": "1"}).content.decode()
        assert "<html" in whole
        assert "<html" not in part
        assert "tasks-nav" not in part


# One job


def test_page_of_a_job_shows_its_history(viewer: Client) -> None:
    now = timezone.now()
    worker = make_worker(name="worker-of-the-story")
    job = make_failed(
        task_name=shown_task.name,
        arguments='[[1,"Zoë"],{"notify":true}]',
        result='{"sum":[1,2]}',
        attempts=2,
        max_attempts=5,
        fence=2,
        tags='["blue"]',
        metadata='{"team":"a"}',
        worker_id=worker.pk,
        started_at=now,
    )
    make_attempt(
        job,
        number=2,
        fence=2,
        worker_id=worker.pk,
        exception_class="x.LateError",
        message="message of 2",
        traceback="traceback of 2\n  indented",
        started_at=now,
        duration=1.25,
        exit_status=-9,
    )
    child = make_job(parent_id=job.pk, task_name="the.child")
    Progress.objects.create(job=job, fence=2, current=3, total=4, message="row 3", updated_at=now)
    LogLine.objects.create(job=job, fence=2, level=30, logger="x", message="careful", created_at=now)
    response = viewer.get(page(job))
    shown = Page(response).text
    for part in ("Zoë", '"notify": true', '"sum"', "2 of 5", "worker-of-the-story", "x.LateError", "1.25 s"):
        assert part in shown, part
    for part in (
        "traceback of 2\n  indented",
        "75 %",
        "row 3",
        "careful",
        "WARNING",
        "the.child",
        "blue",
        "team",
    ):
        assert part in shown, part
    assert "Attempt 2 started" in shown
    assert shown.index("Attempt 2") < shown.index("traceback of 2")
    assert "Enqueued by" in Page(viewer.get(page(child))).text


@pytest.mark.parametrize(
    "stored", ["", "null", "[", "[[],{}", "7", '[["x"],{}]', '{"a":1}', "[1,2]", "x" * 100_000]
)
def test_unreadable_payload_breaks_no_page(stored: str, viewer: Client) -> None:
    job = make_failed(arguments=stored, result=stored, metadata=stored, tags=stored)
    assert viewer.get(page(job)).status_code == 200
    assert viewer.get(JOBS).status_code == 200


def test_history_view_of_django_redirects(viewer: Client) -> None:
    job = make_job()
    assert viewer.get(f"{JOBS}{job.pk}/history/").url == f"{page(job)}#history"


# The other screens


def test_healthy_dashboard_says_so(viewer: Client) -> None:
    make_worker()
    shown = Page(viewer.get(DASHBOARD)).text
    assert "Workers are running and nothing is stuck." in shown
    assert "No attempt has ended in the last 60 minutes." in shown


def test_dashboard_names_what_needs_attention(viewer: Client) -> None:
    now = timezone.now()
    make_worker(queues='["default"]', version="1.0")
    make_worker(queues='["default"]', version="2.0")
    make_worker(name="gone-1", lease_expires_at=now - timedelta(minutes=5))
    make_job(task_name="nobody.knows", enqueued_at=now - timedelta(minutes=20))
    make_job(queue_name="unserved")
    make_job(status="RUNNING", worker_id=uuid.uuid4())
    make_job(queue_name="resting")
    Queue.objects.create(backend="default", name="resting", paused_at=now, pause_reason="because of Anna")
    shown = Page(viewer.get(DASHBOARD)).text
    for part in (
        "No worker serves the queue “unserved”",
        "--queue unserved",
        "“nobody.knows”, which is not registered",
        "assigned to a worker that no longer runs",
        "because of Anna",
        "has been ready in the queue “default” for 20 min",
        "stopped sending heartbeats: gone-1",
        "1.0, 2.0",
    ):
        assert part in shown, part


def test_dashboard_draws_the_statistics(viewer: Client) -> None:
    moment = timezone.now().replace(second=0, microsecond=0)
    Statistic.objects.create(
        backend="default",
        moment=moment,
        queue_name="emails",
        task_name="mail.send",
        started=9,
        successful=6,
        failed=3,
        seconds_run=4.5,
        took_4=9,
    )
    for span in ("1h", "24h", "7d"):
        response = viewer.get(DASHBOARD, {"span": span})
        shown = Page(response)
        assert "6 succeeded" in shown.text
        assert "tasks-chart-bad" in response.content.decode()
        assert "33 %" in shown.text
        assert "mail.send" in shown.text


def test_dashboard_counts_the_failures_of_a_day(viewer: Client, settings: Settings) -> None:
    def failed() -> tuple[str, str, str, str]:
        tiles: list[tuple[str, str, str, str]] = viewer.get(DASHBOARD).context_data["tiles"]
        return next(tile for tile in tiles if "Failed" in tile[0])

    assert failed() == ("Failed in 24 h", "0", FAILED, "")
    make_failed()
    # The statistics decide, whatever the span of the chart is. They also count jobs that were deleted.
    for hours, count in ((1, 1000), (23, 234), (25, 5)):
        Statistic.objects.create(
            backend="default",
            moment=timezone.now() - timedelta(hours=hours),
            queue_name="q",
            task_name="t",
            failed=count,
            retried=7,
        )
    assert failed() == ("Failed in 24 h", "1,234", FAILED, "bad")
    options = {"SCOPE_JOBS": "tests.test_admin.scope_of_tests"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    assert failed() == ("Failed", "0", FAILED, "")


def test_failures_are_grouped_by_cause(viewer: Client) -> None:
    for _ in range(3):
        make_failed(task_name="a.task")
    make_failed(task_name="b.task")
    make_failed(task_name="dismissed.task", dismissed_at=timezone.now())
    groups = viewer.get(FAILED).context_data["groups"]
    assert [(row["group"].task, row["count"]) for row in groups] == [("a.task", 3), ("b.task", 1)]
    assert groups[0]["group"].exception == "builtins.ValueError"


def test_registry_shows_definitions(viewer: Client) -> None:
    # The tests of other modules may have registered more than a page of them.
    content = "".join(Page(viewer.get(f"{TASKS}?page={page}")).text for page in range(1, 10))
    for part in (
        "named.task",
        "(a: int, b: int = 0) -> int",
        "Count that this ran.",
        "Queue named",
        "attempts: 3",
    ):
        assert part in content, part


def test_worker_shows_its_jobs(viewer: Client) -> None:
    worker = make_worker(memory=123_456_789, running_jobs=1)
    make_job(status="RUNNING", worker_id=worker.pk, task_name="its.job", last_attempted_at=timezone.now())
    shown = Page(viewer.get(page(worker))).text
    for part in ("its.job", "123 MB", "web-1.example", "Alive"):
        assert part in shown


def test_running_workers_of_one_name_are_warned_about(viewer: Client) -> None:
    make_worker(name="alone")
    make_worker(name="twin")
    make_worker(name="twin", stopped_at=timezone.now())
    warning = "Several running workers have the name “twin”. Only their ids distinguish them."
    assert "Several" not in Page(viewer.get(WORKERS)).text
    make_worker(name="twin")
    assert warning in Page(viewer.get(WORKERS)).text


@pytest.mark.parametrize(
    "fields, label",
    [
        ({}, "Alive"),
        ({"stop_requested_at": timezone.now()}, "Stopping"),
        ({"lease_expires_at": timezone.now() - timedelta(days=1)}, "Late"),
        ({"stopped_at": timezone.now()}, "Stopped"),
    ],
)
def test_worker_has_a_state(fields: dict[str, Any], label: str, viewer: Client) -> None:
    make_worker(**fields)
    assert label in Page(viewer.get(WORKERS)).text


@pytest.mark.parametrize(
    "queues, left_out, shown, serves",
    [
        ("[]", None, "all", True),
        ('["a"]', None, "a", True),
        ('["b","c"]', None, "b, c", False),
        ("[]", '["a"]', "all except a", False),
        ("{", None, "{", True),
    ],
)
def test_queues_of_a_worker(queues: str, left_out: str | None, shown: str, serves: bool) -> None:
    worker = make_worker(queues=queues, exclude_queues=left_out)
    assert people.queues_text(worker) == shown
    assert people.serves(worker, "default", "a") is serves


# Parts


def test_chart_shows_small_failures_and_a_round_scale() -> None:
    steps = [charts.Step(timezone.now(), 1000, 1), charts.Step(timezone.now(), 0, 0)]
    chart = charts.stacked(steps, ["one", "two"], False)
    assert chart.bars[0].bad_height == 2.0
    assert chart.bars[1].good_height == 0
    assert [line.text for line in chart.lines] == ["0", "500", "1000"] or chart.lines[-1].text == "2000"


@pytest.mark.parametrize(
    "value, scale", [(0, 2), (1, 2), (3, 10), (11, 20), (37, 40), (41, 50), (99, 100), (372, 400)]
)
def test_scale(value: int, scale: int) -> None:
    assert charts.scale_top(value) == scale


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0.0004, "0.4 ms"),
        (0.25, "250 ms"),
        (1.0, "1 s"),
        (59.4, "59.4 s"),
        (61, "1 min 1 s"),
        (3725, "1 h 2 min"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert formatting.duration(seconds) == shown


@pytest.mark.parametrize(
    "seconds, shown", [(0.5, "0.5 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_roughly(seconds: float, shown: str) -> None:
    assert formatting.roughly(seconds) == shown


def test_an_id_contains_its_time() -> None:
    moment = timezone.now().replace(microsecond=0)
    assert job_list.enqueued_at_of(job_list.id_of(moment)) == moment


def test_screens_are_a_mixin_for_any_admin_class(rf: Any) -> None:
    class Base(ModelAdmin):  # type: ignore[type-arg]
        is_theirs = True

    class Ours(JobScreens, Base):
        list_per_page = 7

    ours = Ours(Job, site)
    assert JobScreens.__mro__[-1] is object
    assert not issubclass(JobScreens, ModelAdmin)
    request = rf.get(JOBS)
    request.user = User.objects.create_superuser("root")
    for _ in range(9):
        make_job()
    assert len(ours.changelist_view(request).context_data["rows"]) == 7


def test_app_page_links_to_the_screens(viewer: Client) -> None:
    content = viewer.get(BASE).content.decode()
    assert reverse("admin:django_tasks_q_dashboard") in content
