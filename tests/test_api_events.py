"""A job as server-sent events, under ASGI as they come and under WSGI a look at a time."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import cache
from django.test import AsyncClient
from django.utils import timezone

from django_tasks_q.api import events
from django_tasks_q.models import Job, LogLine, Progress

from .api_support import JOBS, login, make_job, make_user

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = {"accept": "text/event-stream"}


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def read(text: str) -> list[tuple[str, Any]]:
    """The events of a stream, comments and times aside."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def log(job: Job, message: str) -> LogLine:
    return LogLine.objects.create(
        job=job, fence=1, level=20, logger="x", message=message, created_at=timezone.now()
    )


def test_under_wsgi_each_response_is_one_query() -> None:
    job = make_job(status="RUNNING")
    Progress.objects.create(job=job, fence=1, current=2, total=4, updated_at=timezone.now())
    first = log(job, "first\nline")
    client = login("view_job", "view_payload_job")
    response = client.get(f"{JOBS}{job.id}/events/", headers=EVENTS)
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    text = response.getvalue().decode()
    assert text.startswith("retry: 2000\n")
    found = read(text)
    assert [name for name, _ in found] == ["status", "progress", "log"]
    assert found[0][1]["status"] == "RUNNING"
    assert found[1][1]["share"] == 0.5
    assert found[2][1]["message"] == "first\nline"
    log(job, "second")
    Job.objects.update(status="SUCCESSFUL")
    again = client.get(
        f"{JOBS}{job.id}/events/", headers={**EVENTS, "last-event-id": str(first.id)}
    ).getvalue()
    assert [name for name, _ in read(again.decode())] == ["status", "progress", "log", "end"]


def test_lines_are_not_for_those_who_may_not_see_payload() -> None:
    job = make_job(status="FAILED")
    Progress.objects.create(job=job, fence=1, value='"private"', updated_at=timezone.now())
    log(job, "private")
    text = login("view_job").get(f"{JOBS}{job.id}/events/").getvalue().decode()
    assert [name for name, _ in read(text)] == ["status", "progress", "end"]
    assert "private" not in text
    for malformed in ("x", "-1", "9" * 40, "é"):
        headers = {"last-event-id": malformed}
        assert login("view_job", name=malformed).get(f"{JOBS}{job.id}/events/", headers=headers).getvalue()


def test_unknown_jobs_have_no_events() -> None:
    response = login("view_job").get(f"{JOBS}nonsense/events/", headers={"accept": "*/*"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_under_asgi_events_come_as_they_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    async_to_sync(follow)(monkeypatch)


async def follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MIN_PAUSE", 0.02)
    monkeypatch.setattr(events, "KEEPALIVE", 0.1)
    job = await sync_to_async(make_job)()
    user = await sync_to_async(make_user)("view_job", "view_payload_job")
    client = AsyncClient()
    await client.aforce_login(user)
    response: Any = await client.get(f"{JOBS}{job.id}/events/", headers=EVENTS)
    assert response.is_async
    text = ""

    async def until(marker: str) -> None:
        nonlocal text
        async with asyncio.timeout(10):
            while marker not in text:
                text += (await anext(chunks)).decode()

    chunks = aiter(response)
    await until('"READY"')
    await Job.objects.aupdate(status="RUNNING")
    await until('"RUNNING"')
    await sync_to_async(Progress.objects.create)(job=job, fence=1, current=1, updated_at=timezone.now())
    await until("event: progress")
    await until(": still there")
    await sync_to_async(log)(job, "a line")
    await until("a line")
    await Job.objects.aupdate(status="SUCCESSFUL")
    await until("event: end")
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)
    names = [name for name, _ in read(text)]
    assert names == ["status", "status", "progress", "log", "status", "end"]


def test_a_stream_ends_when_it_is_old_and_with_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    async_to_sync(outlive)(monkeypatch)


async def outlive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MIN_PAUSE", 0.02)
    user = await sync_to_async(make_user)("view_job")
    client = AsyncClient()
    await client.aforce_login(user)
    job = await sync_to_async(make_job)()
    monkeypatch.setattr(events, "MAX_AGE", 0.3)
    response: Any = await client.get(f"{JOBS}{job.id}/events/", headers=EVENTS)
    text = "".join([chunk.decode() async for chunk in response])
    assert [name for name, _ in read(text)] == ["status"]
    monkeypatch.setattr(events, "MAX_AGE", 30)
    response = await client.get(f"{JOBS}{job.id}/events/", headers=EVENTS)
    await Job.objects.all().adelete()
    text = "".join([chunk.decode() async for chunk in response])
    assert read(text)[-1] == ("end", {"status": None})
