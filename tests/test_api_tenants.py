"""SCOPE_JOBS: whoever may see some jobs learns nothing of the others, by any route."""

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.core.checks import run_checks

from django_tasks_q.models import LogLine
from django_tasks_q.scope import is_scoped

from .api_support import API, JOBS, login, make_attempt, make_job
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
