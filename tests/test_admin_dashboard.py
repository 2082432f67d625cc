"""The dashboard and the screens of queues, workers, schedules and tasks with many rows."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from django_tasks_q import task
from django_tasks_q.actions import retry
from django_tasks_q.admin.job_list import id_of
from django_tasks_q.definition.registry import registry
from django_tasks_q.models import Job, Queue, Statistic

from .admin_support import (
    BASE,
    DASHBOARD,
    JOBS,
    QUEUES,
    TASKS,
    WORKERS,
    Page,
    make_failed,
    make_job,
    make_worker,
    staff,
)

pytestmark = pytest.mark.django_db
SCHEDULES = f"{BASE}schedule/"


@pytest.fixture
def viewer() -> Client:
    return staff("view_job", "view_worker", "view_queue", "view_payload_job", "view_schedule")


def shown(client: Client, url: str) -> str:
    return " ".join(Page(client.get(url)).text.split())


def queue(client: Client, name: str, url: str = QUEUES) -> Any:
    rows = client.get(url).context_data["rows" if url == QUEUES else "queues"]
    return next((row for row in rows if row["name"] == name), None)


# Queues


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue with more jobs than are counted, sorted before others, and one that no worker serves."""
    monkeypatch.setattr("django_tasks_q.admin.counts.CAP", 5)
    make_worker(queues='["busy","late"]')
    Job.objects.bulk_create(
        Job(
            task_name="shop.ship",
            queue_name=name,
            backend="default",
            priority=priority,
            arguments="[[],{}]",
            enqueued_at=timezone.now(),
        )
        for name, priority, count in (("busy", 50, 8), ("late", 0, 3), ("unserved", -5, 2))
        for _ in range(count)
    )


@pytest.mark.parametrize("url", [QUEUES, DASHBOARD])
def test_a_queue_behind_a_busy_one_is_counted(url: str, busy: None, viewer: Client) -> None:
    assert queue(viewer, "busy", url)["ready"] == "5+"
    assert queue(viewer, "late", url)["ready"] == "3"
    assert queue(viewer, "unserved", url)["ready"] == "2"
    assert queue(viewer, "unserved", url)["is_unserved"]


def test_an_unserved_queue_is_reported_beside_a_busy_one(busy: None, viewer: Client) -> None:
    text = shown(viewer, DASHBOARD)
    assert "No worker serves the queue “unserved”, where 2 jobs wait." in text
    Job.objects.filter(queue_name="unserved").first().delete()  # type: ignore[union-attr]
    assert "No worker serves the queue “unserved”, where 1 job waits." in shown(viewer, DASHBOARD)


def test_a_retried_job_is_ready_since_then(viewer: Client) -> None:
    make_worker()
    now = timezone.now()
    old = make_failed(id=id_of(now - timedelta(days=30)), enqueued_at=now - timedelta(days=30))
    retry(old.pk)
    make_job(enqueued_at=now - timedelta(minutes=2), run_after=None)
    assert queue(viewer, "default")["oldest"] == "2 min"
    tile = next(tile for tile in viewer.get(DASHBOARD).context_data["tiles"] if tile.label == "Oldest ready")
    assert (tile.value, tile.kind) == ("2 min", "")


# Workers


@pytest.mark.parametrize("url", [DASHBOARD, QUEUES])
def test_a_worker_is_alive_however_many_were_started_since(url: str, viewer: Client) -> None:
    now = timezone.now()
    make_worker(name="living", started_at=now - timedelta(days=3))
    gone = {"stopped_at": now, "lease_expires_at": now - timedelta(minutes=1)}
    for _ in range(230):
        make_worker(**gone)
    make_job(queue_name="default")
    text = shown(viewer, url)
    assert "No worker is running" not in text
    assert "Not served" not in text
    if url == DASHBOARD:
        assert "1 alive, 0 late" in text


def test_every_worker_can_be_reached_and_found_by_name(viewer: Client) -> None:
    now = timezone.now()
    names = {make_worker(name=f"w{number}", started_at=now).name for number in range(120)}
    for _ in range(120):
        make_worker(stopped_at=now, name="stopped", started_at=now + timedelta(hours=1))
    url, seen = WORKERS, []
    while url:
        context = viewer.get(url).context_data
        seen += [row["row"].name for row in context["rows"]]
        url = context["page"].next_url and WORKERS + context["page"].next_url
    assert (len(seen), set(seen[:120])) == (240, names)  # those that work come first
    assert [row["row"].name for row in viewer.get(f"{WORKERS}?q=w77").context_data["rows"]] == ["w77"]


# Schedules, tasks and queues: lists of many


def test_every_schedule_can_be_reached_and_found(viewer: Client) -> None:
    from .test_admin_schedules import make_schedule

    names = {make_schedule(name=f"s{number}").name for number in range(230)}
    make_schedule(name="rare", task_name="mail.send")
    url, seen = SCHEDULES, []
    while url:
        context = viewer.get(url).context_data
        seen += [row["row"].name for row in context["rows"]]
        url = context["page"].next_url and SCHEDULES + context["page"].next_url
    assert (len(seen), set(seen)) == (231, {*names, "rare"})
    for search in ("rare", "MAIL.SEND"):
        rows = viewer.get(f"{SCHEDULES}?q={search}").context_data["rows"]
        assert [row["row"].name for row in rows] == ["rare"]


def made(number: int) -> None:
    """One of many."""


@pytest.fixture
def many_tasks() -> Any:
    found = [task(name=f"many.task{number:04}", queue_name="default")(made) for number in range(400)]
    yield found
    for each in found:
        registry._tasks.pop(each.name, None)


def test_many_tasks_are_listed_in_pages_and_found(many_tasks: Any, viewer: Client) -> None:
    response = viewer.get(TASKS)
    assert len(response.context_data["rows"]) == 100
    url, seen = TASKS, []
    while url:
        context = viewer.get(url).context_data
        seen += [row["facts"]["name"] for row in context["rows"]]
        url = context["list"].next_url and TASKS + context["list"].next_url
    assert {each.name for each in many_tasks} <= set(seen)
    found = viewer.get(f"{TASKS}?q=task0123").context_data["rows"]
    assert [row["facts"]["name"] for row in found] == ["many.task0123"]
    # A list of all names would be most of the page of jobs, which is refreshed every few seconds.
    assert "many.task0123" not in viewer.get(JOBS).content.decode()


def test_many_queues_are_listed_in_pages_and_the_busiest_on_the_dashboard(viewer: Client) -> None:
    make_worker()
    for number in range(130):
        make_job(queue_name=f"q{number:03}")
    for _ in range(3):
        make_job(queue_name="q129")
    context = viewer.get(QUEUES).context_data
    assert len(context["rows"]) == 100
    rest = viewer.get(QUEUES + context["page"].next_url).context_data["rows"]
    assert "q129" in {row["name"] for row in rest}
    assert [row["name"] for row in viewer.get(f"{QUEUES}?q=q127").context_data["rows"]] == ["q127"]
    assert queue(viewer, "q129", DASHBOARD)["ready"] == "4"
    assert "The 20 busiest of" in shown(viewer, DASHBOARD)


@pytest.mark.parametrize("token", ["x", "W10", "WyJhIl0", "W3RydWUsMSwxXQ", "é", "A" * 3000])
@pytest.mark.parametrize("url", [WORKERS, SCHEDULES])
def test_a_bad_page_gives_the_first_one_with_a_message(url: str, token: str, viewer: Client) -> None:
    response = viewer.get(url, {"after": token})
    assert (response.status_code, "This page does not exist" in Page(response).text) == (200, True)


@pytest.mark.parametrize("number", ["0", "-1", "x", "²", "9" * 40])
@pytest.mark.parametrize("url", [TASKS, QUEUES])
def test_a_bad_number_gives_the_first_page_with_a_message(url: str, number: str, viewer: Client) -> None:
    response = viewer.get(url, {"page": number})
    assert (response.status_code, "This page does not exist" in Page(response).text) == (200, True)


# Health


def count(minutes: float, **counts: int) -> None:
    Statistic.objects.create(
        backend="default",
        moment=timezone.now() - timedelta(minutes=minutes),
        queue_name="q",
        task_name=str(uuid.uuid4()),
        **counts,
    )


def test_failures_of_the_last_minutes_are_reported(viewer: Client) -> None:
    make_worker()
    count(1, failed=5000)
    response = viewer.get(DASHBOARD)
    notice = response.context_data["notices"][0]
    assert (notice.kind, notice.what) == (
        "bad",
        "5,000 of 5,000 attempts have failed in the last 5 minutes.",
    )
    assert "tasks-healthy" not in response.content.decode()


@pytest.mark.parametrize(
    ("minutes", "counts", "kind", "text_start"),
    [
        (30, {"failed": 200_000, "successful": 9_000_000}, "warn", "200,000 of 9,200,000 attempts"),
        (30, {"retried": 20, "successful": 100}, "warn", "20 of 120 attempts"),
        (30, {"crashed": 6, "successful": 4}, "bad", "6 of 10 attempts"),
        (30, {"expired": 7}, "bad", "7 of 7 attempts"),
        (1, {"failed": 1}, "warn", "1 of 1 attempt has failed in the last 5 minutes."),
    ],
)
def test_a_rate_of_failures_is_reported(
    minutes: int, counts: dict[str, int], kind: str, text_start: str, viewer: Client
) -> None:
    make_worker()
    count(minutes, **counts)
    [notice] = viewer.get(DASHBOARD).context_data["notices"]
    assert notice.kind == kind
    assert notice.what.startswith(text_start)


def test_a_few_failures_among_many_jobs_are_shown_beside_the_green_sign(viewer: Client) -> None:
    make_worker()
    count(20, failed=9, successful=900)
    count(90, failed=5000)
    text = shown(viewer, DASHBOARD)
    assert "nothing is stuck. 9 of 909 attempts have failed in the last 60 minutes." in text


def only_theirs(request: Any, jobs: Any) -> Any:
    return jobs.filter(queue_name="theirs")


def test_a_user_with_a_scope_gets_the_failures_within_it(viewer: Client, settings: Any) -> None:
    options = {"SCOPE_JOBS": "tests.test_admin_dashboard.only_theirs"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    make_worker()
    for _ in range(12):
        make_failed(queue_name="others")
    make_job(queue_name="secret")
    assert viewer.get(DASHBOARD).context_data["notices"] == []
    assert queue(viewer, "secret", DASHBOARD) is None
    for _ in range(11):
        make_failed(queue_name="theirs")
    [notice] = viewer.get(DASHBOARD).context_data["notices"]
    assert notice.what == "11 jobs have failed in the last 5 minutes."


WORKER_FACTS = ("lost-1", "several versions", "Workers", "alive", "Workers are running")


def make_workers() -> None:
    make_worker(version="1")
    make_worker(version="2")
    make_worker(name="lost-1", lease_expires_at=timezone.now() - timedelta(minutes=1))


def test_workers_are_hidden_without_the_permission_to_view_them(viewer: Client, settings: Any) -> None:
    make_workers()
    plain = staff("view_job", name="plain")
    text = shown(viewer, DASHBOARD)
    assert all(fact in text for fact in WORKER_FACTS[:-1])
    text = shown(plain, DASHBOARD)
    assert not any(fact in text for fact in WORKER_FACTS)
    assert "Nothing is stuck." in text
    options = {"SCOPE_JOBS": "tests.test_admin_dashboard.only_theirs"}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    # The permissions for queues and workers have no effect for users with a scope.
    for url in (DASHBOARD, BASE):
        response = viewer.get(url)
        text = " ".join(Page(response).text.split())
        assert not any(fact in text for fact in WORKER_FACTS)
        assert f'href="{QUEUES}"' not in response.content.decode()
        assert f'href="{WORKERS}"' not in response.content.decode()


def test_the_reason_of_a_pause_is_hidden_without_the_permission_to_view_queues(viewer: Client) -> None:
    make_worker()
    make_job(queue_name="resting")
    Queue.objects.create(
        backend="default", name="resting", paused_at=timezone.now(), pause_reason="the bank is down"
    )
    assert "the bank is down" in shown(viewer, DASHBOARD)
    response = staff("view_job", name="plain").get(DASHBOARD)
    text = " ".join(Page(response).text.split())
    assert "“resting” is paused, and 1 job waits in it." in text
    assert "the bank is down" not in text
    assert f'href="{QUEUES}"' not in response.content.decode()


def test_a_paused_queue_names_how_many_wait(viewer: Client) -> None:
    make_worker()
    make_job(queue_name="resting")
    Queue.objects.create(backend="default", name="resting", paused_at=timezone.now())
    assert "“resting” is paused, and 1 job waits in it." in shown(viewer, DASHBOARD)


# Numbers and words


def test_percentiles_say_that_they_are_bounds(viewer: Client) -> None:
    Statistic.objects.create(
        backend="default",
        moment=timezone.now() - timedelta(minutes=1),
        queue_name="q",
        task_name="long.task",
        started=1,
        successful=1,
        seconds_run=77.0,
        took_9=1,
    )
    [row] = viewer.get(DASHBOARD).context_data["slowest"]
    assert (row.p50, row.p95) == ("≤ 1 min 17 s", "≤ 1 min 17 s")


def test_a_negative_duration_is_not_shown(viewer: Client) -> None:
    from django_tasks_q.admin.formatting import duration

    assert duration(-5.0) == "–"
    job = make_job(status="SUCCESSFUL", duration=-5.0, finished_at=timezone.now())
    # The id of the job is on the page, and any of its parts may begin with 5.
    assert "-5" not in shown(viewer, f"{JOBS}{job.pk}/change/").replace(str(job.pk), "")


def test_singular_and_plural(viewer: Client) -> None:
    make_worker()
    make_job(task_name="nobody.knows")
    count(1, failed=1)
    text = shown(viewer, DASHBOARD)
    assert "1 job waits for the task “nobody.knows”" in text
    assert "1 attempt failed" in text
    for many in ("1 jobs", "1 attempts", "1 runs"):
        assert many not in text


def test_many_notices_of_a_kind_are_summed_up(viewer: Client) -> None:
    make_worker(queues='["other"]')
    for number in range(9):
        make_job(queue_name=f"q{number}", task_name=f"nobody.knows{number}")
    for _ in range(3):
        make_job(queue_name="q8", task_name="nobody.knows8")
    found = viewer.get(DASHBOARD).context_data["notices"]
    assert len(found) == 12
    assert [notice.what for notice in found].count("4 more of this kind.") == 2
    assert found[0].what == "No worker serves the queue “q8”, where 4 jobs wait."
