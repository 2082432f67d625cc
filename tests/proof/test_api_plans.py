"""What the REST API costs on a full table, by the plans that PostgreSQL makes for it."""

import statistics
import time

import pytest
from django.core.cache import cache
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.settings import api_settings

from django_tasks_q.api.search_limit import SEARCH_LIMIT
from django_tasks_q.models import Job

from ..api_support import JOBS
from .test_admin_plans import client, full, scans  # noqa: F401  # fixtures
from .test_plans import ALIAS, JOB, explained

pytestmark = pytest.mark.django_db(databases=[ALIAS, "default"])

LISTS = [
    "",
    "page_size=200",
    *(f"status={status}" for status in ("READY", "SCHEDULED", "WAITING", "RUNNING", "SUCCESSFUL", "FAILED")),
    "status=CANCELLED",
    "status=EXPIRED",
    "task=task3",
    "task=nobody",
    "queue=nobody",
    "queue=queue3&status=CANCELLED",
    "task=nobody&status=FAILED",
    "task=nobody&status=READY",
    "queue=nobody&status=RUNNING",
    "task=nobody&queue=queue3&status=SUCCESSFUL",
    "tag=nobody&enqueued_after=2000-01-01T00:00Z",
    "tag=nobody&status=FAILED&enqueued_after=2000-01-01T00:00Z",
    "parent=01a20525-c044-7690-88ea-b7513f137769",
    "parent=01a20525-c044-7690-88ea-b7513f137769&task=nobody",
    "enqueued_before=2000-01-01T00:00Z",
    "enqueued_after=2000-01-01T00:00Z&status=EXPIRED",
]


@pytest.fixture(autouse=True)
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.clear()
    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "django_tasks_q", None)


def own(queries: CaptureQueriesContext) -> list[str]:
    others = ("django_session", "auth_", "SAVEPOINT", "EXPLAIN")
    return [query["sql"] for query in queries if not any(other in query["sql"] for other in others)]


@pytest.mark.parametrize("query", LISTS)
def test_no_list_reads_or_sorts_more_than_its_reach(query: str, client: Client, full: object) -> None:  # noqa: F811
    url = f"{JOBS}?{query}"
    while url:
        with explained(full) as plans, CaptureQueriesContext(full) as queries:
            page = client.get(url).json()
        assert scans(plans) == []
        assert JOB in {plan.get("Relation Name") for plan in plans}
        assert len(own(queries)) <= 5
        # The page in the middle, and the last one.
        url = page["next"] if page["searched_to"] else None


def test_a_detail_reads_one_job(client: Client, full: object) -> None:  # noqa: F811
    for status in ("FAILED", "RUNNING", "SUCCESSFUL", "READY"):
        job = Job.objects.using(ALIAS).filter(status=status).first()
        with explained(full) as plans, CaptureQueriesContext(full) as queries:
            assert client.get(f"{JOBS}{job.id}/").status_code == 200
        assert scans(plans) == []
        assert len(own(queries)) <= 5


def test_an_empty_search_looks_at_every_job_once(client: Client, full: object) -> None:  # noqa: F811
    count, pages, url = Job.objects.using(ALIAS).count(), 0, f"{JOBS}?task=nobody"
    while url:
        url = client.get(url).json()["next"]
        pages += 1
    assert pages == count // SEARCH_LIMIT + 1


@pytest.mark.parametrize("query", LISTS)
def test_lists_are_quick(query: str, client: Client) -> None:  # noqa: F811
    url, times = f"{JOBS}?{query}", []
    client.get(url)
    for _ in range(5):
        began = time.perf_counter()
        client.get(url)
        times.append(time.perf_counter() - began)
    print(f"{min(times) * 1000:.0f} to {statistics.median(times) * 1000:.0f} ms: {query}")
    assert min(times) < 0.5  # of a busy machine; docs/reference/rest.md has figures
