"""A list of jobs looks no further than it should, says so, and still finds everything."""

import json
import time
from datetime import datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connections, transaction
from django.test import Client

from django_tasks_q.api import base, search_limit
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job
from django_tasks_q.models.job import JobQuerySet
from django_tasks_q.storage import TookTooLong, storage_for

from .api_support import API, JOBS, login, make_job
from .conftest import Router
from .test_api_tenants import set_scope

NEW = "searched_to"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    monkeypatch.setattr(search_limit, "SEARCH_LIMIT", 10)
    monkeypatch.setattr(search_limit, "SCATTERED_LIMIT", 10)


@pytest.fixture
def viewer(storage_alias: str, settings: Any) -> Client:
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    return login("view_job", "discard_job")


def walk(client: Client, url: str, link: str = "next") -> tuple[list[str], list[dict[str, Any]]]:
    """The tasks of all pages from one on, and the pages."""
    pages: list[dict[str, Any]] = []
    while url:
        cache.clear()
        response = client.get(url)
        assert response.status_code == 200
        pages.append(response.json())
        url = pages[-1][link]
        assert len(pages) < 50
    tasks = [[job["task"] for job in page["results"]] for page in pages]
    return [task for page in (tasks if link == "next" else tasks[::-1]) for task in page], pages


def some(count: int = 45, **fields: Any) -> list[str]:
    """Names of jobs, the newest first, of which every fifth is in the queue that is looked for."""
    for number in range(count):
        queue = "rare" if number % 5 == 0 else "common"
        make_job(task_name=f"t{number:02}", **{"queue_name": queue, "status": "SUCCESSFUL"} | fields)
    return [f"t{number:02}" for number in reversed(range(count))]


def test_pages_of_a_rare_filter_say_how_far_they_looked_and_miss_nothing(viewer: Client) -> None:
    names = some()
    rare = [name for name in names if int(name[1:]) % 5 == 0]
    for size in (1, 2, 3, 50):
        found, pages = walk(viewer, f"{JOBS}?queue=rare&page_size={size}")
        assert found == rare
        for page in pages:
            assert page["next"] is not None or page[NEW] is None
            assert len(page["results"]) == size or page["next"] is None or page[NEW] is not None
        # Back from the last page, by the links that it gives.
        last = pages[-1]
        back = [job["task"] for job in last["results"]]
        before, _ = walk(viewer, last["previous"], "previous") if last["previous"] else ([], [])
        assert before + back == rare


def test_a_search_that_finds_nothing_comes_to_an_end(viewer: Client) -> None:
    some()
    found, pages = walk(viewer, f"{JOBS}?task=nobody")
    assert found == []
    assert [page[NEW] is None for page in pages] == [False] * 4 + [True]
    assert [page["next"] is None for page in pages] == [False] * 4 + [True]
    moments = [page[NEW] for page in pages[:-1]]
    assert moments == sorted(moments, key=datetime.fromisoformat, reverse=True)
    assert walk(viewer, pages[-1]["previous"], "previous")[0] == []


@pytest.mark.parametrize(
    "query", ["", "status=FAILED", "status=SUCCESSFUL", "enqueued_after=2000-01-01T00:00Z"]
)
def test_what_an_index_finds_is_never_cut_short(query: str, viewer: Client) -> None:
    status = "FAILED" if "FAILED" in query else "SUCCESSFUL"
    names = some(status=status)
    found, pages = walk(viewer, f"{JOBS}?{query}&page_size=7")
    assert found == names
    assert all(page[NEW] is None for page in pages)


@pytest.mark.parametrize("status", ["READY", "SCHEDULED", "RUNNING"])
@pytest.mark.parametrize("count", [9, 10, 11, 30])
def test_few_open_jobs_are_found_wherever_they_are(status: str, count: int, viewer: Client) -> None:
    wanted = some(count, status=status)
    for _ in range(25):
        make_job(task_name="newer", status="SUCCESSFUL")
    found, pages = walk(viewer, f"{JOBS}?status={status}&page_size=4")
    assert found == wanted
    # Where there are too many to be put in order, they are looked for among all.
    assert all(page[NEW] is None for page in pages) == (count <= search_limit.SEARCH_LIMIT)
    back, _ = walk(viewer, pages[-1]["previous"], "previous")
    assert back + [job["task"] for job in pages[-1]["results"]] == wanted


def test_children_of_a_job_are_found_wherever_they_are(viewer: Client) -> None:
    parent = make_job()
    wanted = some(8, parent_id=parent.id)
    for _ in range(25):
        make_job()
    found, pages = walk(viewer, f"{JOBS}?parent={parent.id}&queue=common&page_size=3")
    assert found == [name for name in wanted if int(name[1:]) % 5]
    assert all(page[NEW] is None for page in pages)
    more = some(30, parent_id=parent.id)
    assert walk(viewer, f"{JOBS}?parent={parent.id}")[0] == more + wanted


def test_a_time_is_where_a_search_begins(viewer: Client) -> None:
    job = make_job(queue_name="rare")
    time.sleep(0.005)
    cut = Job.objects.get(id=make_job().id).enqueued_at
    for _ in range(25):
        make_job()
    page = viewer.get(JOBS, {"queue": "rare", "enqueued_before": cut.isoformat()}).json()
    assert [found["id"] for found in page["results"]] == [str(job.id)]
    assert page[NEW] is None


def only_rare(request: Any, jobs: JobQuerySet) -> JobQuerySet:
    return jobs.filter(queue_name="rare")


@pytest.mark.django_db
def test_a_scope_is_a_filter_like_any_other(settings: Any) -> None:
    set_scope(settings, "tests.test_api_search_limit.only_rare")
    names = some()
    found, pages = walk(login("view_job"), JOBS)
    assert found == [name for name in names if int(name[1:]) % 5 == 0]
    assert len(pages) == 5


@pytest.mark.parametrize("status", JobStatus.values)
def test_a_list_asks_few_questions(status: str, viewer: Client, storage_alias: str) -> None:
    from django.test.utils import CaptureQueriesContext

    some(30, status=status)
    with CaptureQueriesContext(connections[storage_alias]) as queries:
        assert viewer.get(f"{JOBS}?status={status}&queue=rare").status_code == 200
    others = ("auth_", "django_session", "BEGIN", "COMMIT")
    own = [each["sql"] for each in queries if not any(other in each["sql"] for other in others)]
    assert 2 <= len(own) <= 5, own


# The database gives up


ALIAS = "postgres"
on_postgres = pytest.mark.django_db(transaction=True, databases=[ALIAS])


@pytest.fixture
def postgres(settings: Any) -> str:
    settings.DATABASE_ROUTERS = [Router(ALIAS)]
    default = settings.TASKS["default"]
    options = default["OPTIONS"] | {"DATABASE": ALIAS, "SCOPE_JOBS": "tests.test_api_search_limit.slow"}
    settings.TASKS = {"default": default | {"OPTIONS": options}}
    return ALIAS


def sleep(alias: str, seconds: float) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def limit_of(alias: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        (limit,) = cursor.fetchone()
        return str(limit)


@on_postgres
def test_a_query_that_takes_too_long_is_given_up(postgres: str) -> None:
    storage = storage_for(postgres)
    with pytest.raises(TookTooLong), storage.session.reading(0.05):
        sleep(postgres, 5)
    assert limit_of(postgres) == "0"
    with storage.session.reading(0.05):
        assert limit_of(postgres) == "50ms"
    assert limit_of(postgres) == "0"


@on_postgres
def test_the_callers_transaction_keeps_its_own_limit(postgres: str) -> None:
    storage = storage_for(postgres)
    with transaction.atomic(using=postgres):
        with connections[postgres].cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '3s'")
        with storage.session.reading(0.05):
            assert limit_of(postgres) == "50ms"
        assert limit_of(postgres) == "3s"
        with storage.session.reading(60):
            assert limit_of(postgres) == "3s"  # the shorter one
        with pytest.raises(TookTooLong), storage.session.reading(0.05):
            sleep(postgres, 5)
        assert limit_of(postgres) == "3s"
        assert Job.objects.using(postgres).count() == 0  # and can go on


def slow(request: Any, jobs: JobQuerySet) -> JobQuerySet:
    return jobs.extra(where=["pg_sleep(5) IS NOT NULL"])  # as a filter on much


@on_postgres
def test_a_request_that_takes_too_long_gets_an_error(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = login("view_job", "discard_job")
    make_job()
    monkeypatch.setattr(base, "LONGEST_READ", 0.05)
    bulk = json.dumps({"filter": {"queue": "default"}, "dry_run": True})
    answers = [
        viewer.get(JOBS),
        viewer.get(f"{API}stats/"),
        viewer.post(f"{JOBS}bulk/discard/", bulk, content_type="application/json"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "too_slow")
    assert limit_of(postgres) == "0"  # and the connection can be used
