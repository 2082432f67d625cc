"""Actions on all jobs that match a filter, however few they are among others."""

import uuid
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from django_tasks_q import actions, tasks
from django_tasks_q.actions import Selection
from django_tasks_q.admin import confirmation, job_list
from django_tasks_q.models import Job
from django_tasks_q.testing import run_jobs

from .admin_support import FAILED, JOBS, QUEUES, Page, make_attempt, make_failed, make_job, staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def short_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a large table: the jobs that match lie behind more rows than one search reads."""
    for name in ("REACH", "REACH_OF_FAILED"):
        monkeypatch.setattr(job_list, name, 4)
    monkeypatch.setattr(import_module("django_tasks_q.actions.matching"), "REACH", 3, raising=False)


@pytest.fixture
def client() -> Client:
    return staff(
        "view_job", "view_queue", "retry_job", "cancel_job", "discard_job", "delete_job", "change_job"
    )


def ask(client: Client, verb: str, query: str) -> Any:
    return client.post(f"{JOBS}actions/{verb}/", {"matching": query})


def shown(response: Any) -> str:
    return " ".join(Page(response).text.split())


def confirmed(client: Client, verb: str, asked: Any) -> Any:
    """Submit the form of the confirmation."""
    context = asked.context_data
    form = {"ids": context["ids"], "confirmed": "1"}
    if context.get("is_many"):
        form |= {"all": context["matching"], **({"background": "1"} if context["in_background"] else {})}
    return client.post(f"{JOBS}actions/{verb}/", form, follow=True)


def scattered(**fields: Any) -> set[uuid.UUID]:
    """Create five jobs, each followed by six others."""
    found = set()
    for _ in range(5):
        for _ in range(6):
            make_failed(task_name="other")
        found.add(make_failed(**fields).pk)
    return found


WORKER = uuid.uuid4()


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("task=rare", {"task_name": "rare"}),
        ("queue=rare", {"queue_name": "rare"}),
        ("tag=rare", {"tags": '["rare"]'}),
        (f"worker={WORKER}", {"worker_id": WORKER}),
    ],
    ids=["task", "queue", "tag", "worker"],
)
def test_all_is_all_however_rare_the_jobs_are(query: str, fields: dict[str, Any], client: Client) -> None:
    wanted = scattered(**fields)
    asked = ask(client, "retry", f"status=failed&{query}")
    assert "Retry 5 jobs?" in shown(asked)
    assert "These are all jobs that match the filters." in shown(asked)
    confirmed(client, "retry", asked)
    assert set(Job.objects.filter(status="READY").values_list("pk", flat=True)) == wanted


def test_all_of_a_schedule_are_all(client: Client) -> None:
    from .test_admin_schedules import make_firing, make_schedule

    schedule = make_schedule(name="nightly")
    wanted = scattered(task_name="its")
    for number, id in enumerate(sorted(wanted)):
        make_firing(schedule, number, job_id=id)
    confirmed(client, "dismiss", ask(client, "dismiss", "status=failed&schedule=nightly"))
    assert set(Job.objects.filter(dismissed_at__isnull=False).values_list("pk", flat=True)) == wanted


@pytest.mark.parametrize("verb", ["retry", "delete", "dismiss", "pin"])
def test_above_the_cap_a_background_job_changes_all(
    verb: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmation, "CAP", 3)
    monkeypatch.setattr(tasks, "SLICE", 2)
    wanted = scattered(task_name="rare")
    before = {job.pk: job for job in Job.objects.all()}
    asked = ask(client, verb, "status=failed&task=rare")
    assert "all 5, in the background" in shown(asked)
    confirmed(client, verb, asked)
    run_jobs(limit=1)
    bulk = Job.objects.get(task_name=tasks.BULK)
    assert (bulk.status, bulk.return_value["done"]) == ("SUCCESSFUL", 5)
    after = {job.pk: job for job in Job.objects.filter(pk__in=before)}

    def state(job: Job | None) -> Any:
        return job and (job.status, job.dismissed_at, job.pinned_at)

    assert {pk for pk in before if state(before[pk]) != state(after.get(pk))} == wanted


def test_a_count_that_stops_says_at_least(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "BUDGET", 8)
    wanted = scattered(task_name="rare")
    asked = ask(client, "retry", "status=failed&task=rare")
    assert "Retry: all jobs that match the filters, at least 1?" in shown(asked)
    assert "all at least 1, in the background" in shown(asked)
    confirmed(client, "retry", asked)
    run_jobs(limit=1)
    assert set(Job.objects.filter(status="READY").values_list("pk", flat=True)) == wanted


def test_only_jobs_that_the_action_can_change_are_counted(client: Client) -> None:
    now = timezone.now()
    wanted = {make_job(status="READY").pk, make_job(status="SCHEDULED", run_after=now).pk}
    wanted |= {make_job(status="WAITING").pk}
    for status in ("SUCCESSFUL", "CANCELLED", "EXPIRED", "FAILED"):
        make_job(status=status)
    asked = ask(client, "discard", "")
    assert "Discard 3 jobs?" in shown(asked)
    confirmed(client, "discard", asked)
    changed = Job.objects.filter(cancel_requested_at__isnull=False)
    assert set(changed.values_list("pk", flat=True)) == wanted


def test_a_step_is_never_empty_without_a_background_job(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "BUDGET", 3)
    monkeypatch.setattr(tasks, "obstacle", lambda request: "Nobody could.")
    monkeypatch.setattr(confirmation, "CAP", 2)
    scattered(task_name="rare")
    for left in (3, 1, 0):
        asked = ask(client, "retry", "status=failed&task=rare")
        confirmed(client, "retry", asked)
        assert Job.objects.filter(task_name="rare", status="FAILED").count() == left


@pytest.mark.parametrize("verb", ["dismiss", "pin", "cancel"])
@pytest.mark.parametrize("background", [True, False])
def test_a_repeated_action_goes_on_where_jobs_keep_their_state(
    verb: str, background: bool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not background:
        monkeypatch.setattr(tasks, "obstacle", lambda request: "Nobody could.")
    monkeypatch.setattr(confirmation, "CAP", 2)
    scattered(task_name="rare", status="RUNNING" if verb == "cancel" else "FAILED")
    field = {"dismiss": "dismissed_at", "pin": "pinned_at", "cancel": "cancel_requested_at"}[verb]
    untouched = Job.objects.filter(**{"task_name": "rare", f"{field}__isnull": True})
    for left in (0,) if background else (3, 1, 0):
        confirmed(client, verb, ask(client, verb, "task=rare"))
        run_jobs(limit=1)
        assert untouched.count() == left
    assert "Nothing to do." in shown(ask(client, verb, "task=rare"))


@pytest.mark.parametrize("cap", [1000, 3])
def test_a_queue_is_cleared_of_all_that_wait(
    cap: int, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_tasks_q.admin.queues.CAP", cap)
    later = timezone.now() + timedelta(days=1)
    for _ in range(4):
        make_job(queue_name="other")
        make_job(queue_name="q", priority=3)
        make_job(queue_name="q", status="SCHEDULED", run_after=later)
    form = {"backend": "default", "queue": "q"}
    asked = client.post(f"{QUEUES}actions/clear/", form)
    assert "Cancel 8 jobs that are ready or scheduled in “q”?" in shown(asked)
    client.post(f"{QUEUES}actions/clear/", {**form, "confirmed": "1", "typed": "q", "reason": ""})
    if cap < 8:
        run_jobs(limit=1)
    assert Job.objects.filter(queue_name="q", status="CANCELLED").count() == 8
    assert Job.objects.filter(queue_name="other", status="READY").count() == 4


def test_a_walk_goes_on_where_another_one_was() -> None:
    now = timezone.now()
    jobs = [make_job(priority=number % 3) for number in range(4)]
    jobs += [make_job(status="SCHEDULED", run_after=now + timedelta(hours=number % 2)) for number in range(4)]
    jobs += [make_job(status="RUNNING", worker_id=WORKER) for _ in range(3)]
    jobs += [make_job(status="RUNNING"), make_job(status="SCHEDULED")]
    jobs += [make_job(status="EXPIRED") for _ in range(3)]
    selection = Selection(states=("READY", "SCHEDULED", "RUNNING", "EXPIRED", "WAITING"), queue="default")
    walk, seen = actions.Walk(selection, Job.objects.all()), []
    while not walk.is_over:
        seen += walk.ids(2, reach=3)
        walk = actions.Walk(selection, Job.objects.all(), walk.stored())
        assert walk.count() == 16 - len(seen)
    assert (len(seen), set(seen)) == (16, {job.pk for job in jobs})


def test_a_rare_job_is_found_within_a_few_pages(client: Client) -> None:
    """After a page that found too few jobs the next page searches more rows."""
    wanted = make_job(task_name="rare", status="SUCCESSFUL")
    for _ in range(200):
        make_job(status="SUCCESSFUL")
    url, pages = "?task=rare", 0
    while True:
        response = client.get(JOBS + url)
        pages += 1
        if response.context_data["rows"]:
            break
        assert "The next page searches older jobs." in response.content.decode()
        url = response.context_data["next_url"]
    assert [row["job"].pk for row in response.context_data["rows"]] == [wanted.pk]
    assert pages <= 5


def test_jobs_are_found_by_exception_and_by_error_code(client: Client) -> None:
    first = make_failed(error_code="UNHANDLED_EXCEPTION")
    other = make_failed(error_code="TASK_TIMEOUT")
    make_attempt(other, fence=2, exception_class="shop.OutOfStock")
    for query, job in (
        ("exception=builtins.ValueError", first),
        ("exception=shop.OutOfStock", other),
        ("code=TASK_TIMEOUT", other),
    ):
        found = client.get(f"{JOBS}?status=failed&{query}").context_data["rows"]
        assert [row["job"].pk for row in found] == [job.pk], query
        asked = ask(client, "retry", f"status=failed&{query}")
        assert asked.context_data["ids"] == str(job.pk)


# The screen of failures


def failed_page(client: Client, url: str = FAILED) -> Any:
    response = client.get(url)
    assert response.status_code == 200
    return response


@pytest.fixture
def many_failures(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """More failures than a page groups: seven of one task, the oldest of which has failed again just now."""
    monkeypatch.setattr("django_tasks_q.admin.failed.REACH", 5)
    now = timezone.now()
    found = [
        make_failed(task_name="a", error_code="E", finished_at=now - timedelta(minutes=90 - number)).pk
        for number in range(6)
    ]
    found.append(make_failed(task_name="b", error_code="E", finished_at=now - timedelta(minutes=5)).pk)
    Job.objects.filter(pk=found[0]).update(finished_at=now)
    return found


def test_failures_that_were_not_read_are_mentioned(client: Client, many_failures: list[uuid.UUID]) -> None:
    text = shown(failed_page(client))
    assert "7 open failures." in text
    assert "This page groups the 5 that were enqueued last, since" in text
    assert "at least 4" in text
    # The job that has failed last was enqueued first, and is not among these.
    assert "On this page: last 1 h ago, first 1 h ago" in text
    assert "last 5 min ago" in text


def test_older_failures_can_be_reached(client: Client, many_failures: list[uuid.UUID]) -> None:
    make_failed(task_name="oldest", id=uuid.UUID(int=7 << 80))
    seen, url = set(), FAILED
    while url:
        context = failed_page(client, url).context_data
        seen |= {row["group"].task for row in context["groups"]}
        url = context["older_url"]
    assert seen == {"a", "b", "oldest"}
    bad = client.get(f"{FAILED}?before=x")
    assert (bad.status_code, "This page does not exist" in shown(bad)) == (200, True)


def test_buttons_of_a_group_change_all_of_it(client: Client, many_failures: list[uuid.UUID]) -> None:
    group = next(row for row in failed_page(client).context_data["groups"] if row["group"].task == "a")
    asked = ask(client, "retry", group["matching"])
    assert "Retry 6 jobs?" in shown(asked)
    confirmed(client, "retry", asked)
    assert set(Job.objects.filter(status="READY").values_list("pk", flat=True)) == set(many_failures[:6])


def test_failures_without_an_exception_form_a_group(client: Client) -> None:
    with_one = make_failed(task_name="a", error_code="TASK_TIMEOUT")
    without = make_job(task_name="a", error_code="TASK_TIMEOUT", status="FAILED", finished_at=timezone.now())
    other = make_failed(task_name="a", error_code="")
    for row in failed_page(client).context_data["groups"]:
        asked = ask(client, "dismiss", row["matching"])
        assert len(asked.context_data["ids"].split()) == 1
        assert client.get(row["jobs_url"]).context_data["rows"][0]["job"].pk == row["group"].latest
    latest = {row["group"].latest for row in failed_page(client).context_data["groups"]}
    assert latest == {with_one.pk, without.pk, other.pk}
