"""SCOPE_JOBS: a user who may see some jobs learns nothing about the others, by any route."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.core.checks import run_checks
from django.utils import timezone

from django_tasks_q import task, tasks
from django_tasks_q.access import is_scoped, request_of
from django_tasks_q.actions import Selection
from django_tasks_q.api import search_limit
from django_tasks_q.api.sealed_ids import opened, sealed
from django_tasks_q.models import Firing, IdempotencyKey, Job, LogLine, Queue, Schedule
from django_tasks_q.testing import run_jobs

from .api_support import (
    API,
    JOBS,
    client_of,
    login,
    make_attempt,
    make_job,
    make_schedule,
    make_user,
    make_worker,
)
from .test_api_matrix import ALL, RULES

pytestmark = pytest.mark.django_db


def by_queue(request: Any, jobs: Any) -> Any:
    """Each user sees the queue that is named like them."""
    return jobs.filter(queue_name=request.user.username)


def nothing(request: Any, jobs: Any) -> Any:
    return jobs.none()


@pytest.fixture(autouse=True)
def scoped(settings: Any) -> None:
    cache.clear()
    set_scope(settings, "tests.test_api_tenants.by_queue")


def set_scope(settings: Any, scope: Any) -> None:
    default = settings.TASKS["default"]
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | {"SCOPE_JOBS": scope}}}


def test_every_route_of_a_job_is_the_same_404_for_others() -> None:
    theirs = make_job(queue_name="them", status="FAILED")
    make_attempt(theirs)
    LogLine.objects.create(
        job=theirs, fence=1, level=20, logger="x", message="m", created_at=theirs.enqueued_at
    )
    client = login(*ALL, name="us")
    for name, (method, _, _) in RULES.items():
        if not name.startswith("job-") or name == "job-list":
            continue
        path = name.removeprefix("job-").replace("detail", "")
        url = f"{JOBS}{theirs.id}/{path}{'/' if path else ''}"
        needed = {"job-reschedule": {"at": "2100-01-01T00:00:00Z"}, "job-change": {"priority": 1}}
        body = json.dumps(needed.get(name, {}))
        response = getattr(client, method)(url, *([] if method == "get" else [body, "application/json"]))
        unknown = url.replace(str(theirs.id), "01a20525-c044-7690-88ea-b7513f137769")
        other = getattr(client, method)(unknown, *([] if method == "get" else [body, "application/json"]))
        assert (response.status_code, response.content) == (404, other.content), name
    theirs.refresh_from_db()
    assert theirs.status == "FAILED"


def test_lists_counts_and_bulk_actions_are_of_ones_own() -> None:
    ours = make_job(queue_name="us", status="FAILED")
    for status in ("FAILED", "READY", "READY"):
        make_job(queue_name="them", status=status)
    client = login(*ALL, name="us")
    assert [job["id"] for job in client.get(JOBS).json()["results"]] == [str(ours.id)]
    assert client.get(f"{JOBS}?queue=them").json()["results"] == []
    stats = client.get(f"{API}stats/").json()
    assert (stats["jobs"]["FAILED"]["count"], stats["jobs"]["READY"]["count"]) == (1, 0)
    assert (stats["totals"], stats["tasks"], stats["oldest_ready_age"]) == (None, None, None)
    assert client.get(f"{API}queues/them/").status_code == 404
    make_job(queue_name="us")
    queues = {queue["name"]: queue["ready"] for queue in client.get(f"{API}queues/").json()}
    assert queues["us"] == 1
    assert "them" not in queues
    done = client.post(
        f"{JOBS}bulk/retry/", json.dumps({"filter": {"status": "FAILED"}}), content_type="application/json"
    ).json()
    assert (done["matched"], done["done"]) == (1, 1)
    assert client.get(f"{JOBS}?status=FAILED").json()["results"] == []


def test_a_scope_may_be_a_function_and_may_be_empty(settings: Any) -> None:
    set_scope(settings, nothing)
    make_job()
    client = login(*ALL)
    assert is_scoped()
    assert client.get(JOBS).json()["results"] == []
    assert all(each["count"] == 0 for each in client.get(f"{API}stats/").json()["jobs"].values())
    assert set(client.get(f"{API}stats/").json()["jobs"]) == {"READY", "SCHEDULED", "RUNNING", "FAILED"}
    assert all(queue["ready"] == 0 for queue in client.get(f"{API}queues/").json())


@pytest.mark.parametrize(
    ("scope", "id"),
    [("tests.nowhere", "E014"), ("tests.test_api_tenants.ALL", "E014"), (5, "E003"), ("x", "E003")],
)
def test_a_scope_that_is_none_is_found_by_the_checks(scope: Any, id: str, settings: Any) -> None:
    set_scope(settings, scope)
    assert [message.id for message in run_checks(tags=["tasks"]) if message.id.endswith(id)]


# What is written stays in sight


def by_queue_of_schedule(request: Any, schedules: Any) -> Any:
    return schedules.filter(name__startswith=f"{request.user.username}-")


def all_but_staff(request: Any, jobs: Any) -> Any:
    return jobs if request.user.is_superuser else by_queue(request, jobs)


@task(name="tenants.open", api=True)
def open_task() -> None:
    pass


@task(name="tenants.ours", api=True, queue_name="us")
def our_task() -> None:
    pass


def post(client: Any, path: str, **body: Any) -> Any:
    cache.clear()
    return client.post(f"{API}{path}", json.dumps(body), content_type="application/json")


def test_no_job_is_moved_out_of_sight_at_any_door(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [make_job(queue_name="us") for _ in range(3)]
    user = make_user(*ALL, name="us", is_staff=True)
    client = client_of(user)
    before = list(Job.objects.order_by("id").values())
    assert post(client, f"jobs/{jobs[0].id}/change/", queue="them", priority=5).status_code == 403
    assert post(client, "jobs/bulk/change/", filter={"queue": "us"}, queue="them").status_code == 403
    form = {"ids": " ".join(str(job.id) for job in jobs), "queue_name": "them", "confirmed": "1"}
    assert client.post("/admin/django_tasks_q/job/actions/change/", form).status_code == 403
    assert list(Job.objects.order_by("id").values()) == before
    assert not LogEntry.objects.exists()
    result = tasks.enqueue_bulk(request_of(user), "change", Selection(queue="us"), queue_name="them")
    run_jobs(limit=1)
    assert Job.objects.get(id=result.id).status == "FAILED"
    assert set(Job.objects.exclude(id=result.id).values_list("queue_name", flat=True)) == {"us"}
    # What stays in sight is changed.
    assert post(client, f"jobs/{jobs[0].id}/change/", queue="us", priority=5).json()["priority"] == 5
    assert post(client, "jobs/bulk/change/", filter={"queue": "us"}, priority=6).json()["done"] == 3


def test_schedules_are_hidden_from_whom_jobs_are_hidden_from(settings: Any) -> None:
    row = make_schedule(kind="cron", task_name="tenants.open")
    theirs = make_job(queue_name="us")
    Firing.objects.create(
        schedule=row, tick=timezone.now(), outcome="fired", job_id=theirs.id, fired_at=timezone.now()
    )
    set_scope(settings, all_but_staff)
    client = login(*ALL, "view_payload_job", name="us", is_staff=True)
    admin = "/admin/django_tasks_q/"
    screens = (f"{admin}schedule/", f"{admin}job/dashboard/", f"{admin}job/{theirs.id}/change/")
    assert client.get(f"{API}schedules/").json() == []
    assert client.get(f"{API}schedules/nightly/").status_code == 404
    for verb in ("run", "skip", "enable", "disable", "delete"):
        assert post(client, f"schedules/nightly/{verb}/").status_code == 404
    assert client.get(f"{admin}schedule/{row.pk}/change/").status_code == 302
    assert all("nightly" not in client.get(screen).content.decode() for screen in screens)
    for name in ("nightly", "new"):
        assert post(client, f"schedules/{name}/save/", task="tenants.open", every=60).status_code == 403
    boss = login(name="boss", is_superuser=True, is_staff=True)
    assert [each["name"] for each in boss.get(f"{API}schedules/").json()] == ["nightly"]
    assert all("nightly" in boss.get(screen).content.decode() for screen in screens)
    assert Schedule.objects.get().expression == "0 3 * * *"


def test_a_scope_of_schedules_opens_those_whose_jobs_stay_in_sight(settings: Any) -> None:
    default = settings.TASKS["default"]
    options = {"SCOPE_SCHEDULES": "tests.test_api_tenants.by_queue_of_schedule"}
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | options}}
    make_schedule(name="them-x", kind="cron")
    client = login(*ALL, "view_payload_job", name="us", is_staff=True)

    def save(name: str, **more: Any) -> int:
        code: int = post(client, f"schedules/{name}/save/", task="tenants.open", every=60, **more).status_code
        return code

    def add(name: str, queue: str) -> int:
        form = {"name": name, "task": "tenants.open", "kind": "every", "expression": "60", "timezone": "UTC"}
        more = {"missed": "one", "overlap": "allow", "args": "[]", "kwargs": "{}", "queue_name": queue}
        code: int = client.post("/admin/django_tasks_q/schedule/add/", form | more).status_code
        return code

    assert save("us-x", queue="us") == 201
    assert save("us-x", queue="us", priority=3) == 200
    assert save("us-x", queue="them") == save("us-y") == save("them-x", queue="us") == save("y", queue="us")
    assert save("us-y") == 403
    assert add("us-z", "them") == add("z", "us") == 403
    assert add("us-z", "us") == 302
    assert not Job.objects.exists()
    assert {row.name: row.queue_name for row in Schedule.objects.all()} == {
        "us-x": "us",
        "us-z": "us",
        "them-x": "",
    }
    assert [each["name"] for each in client.get(f"{API}schedules/").json()] == ["us-x", "us-z"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_no_job_is_enqueued_out_of_sight(headers: Any) -> None:
    client = login(*ALL, name="us")
    for name, code in (("tenants.open", 403), ("tenants.open", 403), ("tenants.ours", 202)):
        cache.clear()
        url = f"{API}tasks/{name}/enqueue/"
        key = {name: value + str(code) for name, value in headers.items()}
        assert client.post(url, "{}", content_type="application/json", headers=key).status_code == code
    assert [job.queue_name for job in Job.objects.all()] == ["us"]
    assert IdempotencyKey.objects.count() == len(headers)


def test_no_schedule_is_run_as_a_job_out_of_sight(settings: Any) -> None:
    default = settings.TASKS["default"]
    options = {"SCOPE_SCHEDULES": "tests.test_api_tenants.by_queue_of_schedule"}
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | options}}
    hidden = make_schedule(name="us-hidden", kind="cron", task_name="tenants.open")
    ours = make_schedule(name="us-ours", kind="cron", task_name="tenants.ours")
    client = login(*ALL, name="us", is_staff=True)

    def press(row: Schedule) -> int:
        form = {"id": row.pk, "confirmed": "1", "reason": ""}
        code: int = client.post("/admin/django_tasks_q/schedule/actions/run/", form).status_code
        return code

    assert post(client, "schedules/us-hidden/run/").status_code == 403
    assert press(hidden) == 403
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()
    assert post(client, "schedules/us-ours/run/").status_code == 200
    assert press(ours) == 302
    assert [job.queue_name for job in Job.objects.all()] == ["us", "us"]


def test_what_queues_and_workers_do_for_others_is_hidden(settings: Any) -> None:
    make_job(queue_name="us")
    make_job(queue_name="them")
    worker = make_worker(queues='["them"]')
    Queue.objects.create(backend="default", name="us")
    Queue.objects.create(
        backend="default", name="them", paused_at=timezone.now(), pause_reason="their secret"
    )
    client = login(*ALL, name="us", is_staff=True)
    assert [queue["name"] for queue in client.get(f"{API}queues/").json()] == ["us"]
    for path in ("queues/them/", "queues/default/", f"workers/{worker.id}/"):
        assert client.get(f"{API}{path}").status_code == 404
    assert client.get(f"{API}workers/").json()["results"] == []
    assert client.get(f"{API}health/").status_code == 403
    for path in ("queues/them/pause/", "queues/them/resume/", f"workers/{worker.id}/stop/"):
        assert post(client, path).status_code == 404
    admin = "/admin/django_tasks_q/"
    assert client.get(f"{admin}queue/").status_code == client.get(f"{admin}worker/").status_code == 403
    dashboard = client.get(f"{admin}job/dashboard/").content.decode()
    assert "their secret" not in dashboard
    assert worker.name not in dashboard
    set_scope(settings, all_but_staff)
    boss = login(name="boss", is_superuser=True, is_staff=True)
    assert "them" in [queue["name"] for queue in boss.get(f"{API}queues/").json()]
    assert len(boss.get(f"{API}workers/").json()["results"]) == 1
    assert boss.get(f"{API}health/").json()["workers_alive"] == 1
    assert boss.get(f"{API}stats/").json()["totals"] is not None


def test_where_a_search_stops_tells_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_limit, "SEARCH_LIMIT", 3)
    ours = make_job(queue_name="us")
    others = [make_job(queue_name="them") for _ in range(7)]
    client = login(*ALL, name="us")
    url, found, pages = f"{JOBS}?queue=us", [], 0
    while url and pages < 9:
        cache.clear()
        page = client.get(url).json()
        found += page["results"]
        assert page["searched_to"] is None
        for link in filter(None, (page["next"], page["previous"])):
            cursor = parse_qs(urlsplit(link).query)["cursor"][0]
            text = base64.b64decode(cursor).decode()
            assert not any(str(job.id) in text or str(job.id)[:13] in text for job in others), text
        url, pages = page["next"], pages + 1
    assert ([job["id"] for job in found], pages) == ([str(ours.id)], 3)
    forged = base64.b64encode(b"p=~" + base64.urlsafe_b64encode(b"x" * 34)).decode()
    for cursor in (forged, base64.b64encode(b"p=~").decode(), base64.b64encode(b"p=~!").decode()):
        assert client.get(JOBS, {"cursor": cursor}).status_code == 404


def test_sealed_ids_are_read_by_their_own_project_only(settings: Any) -> None:
    id = make_job().id
    text = sealed(id)
    assert (opened(text), opened(str(id))) == (str(id), str(id))
    assert sealed(id) != text
    for bad in (text[:-1], text[:1] + "A" + text[2:] if text[1] != "A" else text[:1] + "B" + text[2:]):
        with pytest.raises(ValueError, match="sealed"):
            opened(bad)
    settings.SECRET_KEY = "another"
    with pytest.raises(ValueError, match="sealed"):
        opened(text)
