"""Secrets in what tasks say of themselves: reasons, errors that go on, options, and cut texts."""

import json
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from django_tasks_q import TaskCancelled, task
from django_tasks_q.exceptions import JobFailed
from django_tasks_q.models import Attempt, Job, LogLine, Progress
from django_tasks_q.monitoring.descriptions import described
from django_tasks_q.testing import run_jobs

from .admin_support import JOBS as ADMIN_JOBS
from .admin_support import make_attempt, make_failed
from .api_support import JOBS, login
from .test_api_matrix import ALL

pytestmark = pytest.mark.django_db
CARD = "4111-canary"


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


@pytest.fixture
def client() -> Client:
    return login(*ALL, "view_payload_job", name="all", is_staff=True, is_superuser=True)


def command(*arguments: str) -> str:
    output = StringIO()
    call_command("tasks", *arguments, stdout=output)
    return output.getvalue()


def fetched(client: Client, address: str) -> str:
    cache.clear()
    response = client.get(address, headers={"accept": "*/*"})
    assert response.status_code == 200
    return response.getvalue().decode()


@task(name="told.refuse", sensitive=["card"])
def refuse(card: str) -> None:
    raise TaskCancelled(f"card {card} was refused")


@task(name="told.child", sensitive=["card"])
def child(card: str) -> None:
    raise ValueError(f"card {card} is not valid")


@task(name="told.parent")
def parent(child_id: str) -> None:
    child.get_result(child_id).get(timeout=5)


@task(
    name="told.configured",
    sensitive=["card"],
    metadata={"api_key": "key-canary", "card": "card-canary", "team": "blue"},
)
def configured(
    config: dict[str, str] = {"password": "word-canary", "host": "db1"},  # noqa: B006
    pairs: tuple[object, ...] = ("both", {"card": "pair-canary"}),
) -> None:
    pass


def test_the_reason_of_a_cancellation_shows_no_secret(client: Client) -> None:
    job = refuse.enqueue(CARD)
    refuse.enqueue("another-card")
    run_jobs()
    assert CARD in Job.objects.get(pk=job.id).cancel_reason
    for address in (
        JOBS,
        f"{JOBS}{job.id}/",
        f"{JOBS}{job.id}/events/",
        f"{ADMIN_JOBS}{job.id}/change/",
    ):
        text = fetched(client, address)
        assert "was refused" in text, address
        assert CARD not in text, address
    for arguments in (("show", job.id), ("show", job.id, "--json"), ("jobs", "--json")):
        text = command(*arguments)
        assert "was refused" in text, arguments
        assert CARD not in text, arguments


def test_reasons_cost_a_list_no_query_of_their_own(
    client: Client, django_assert_max_num_queries: object
) -> None:
    for number in range(12):
        refuse.enqueue(f"card-{number}")
    run_jobs()
    with django_assert_max_num_queries(8):  # type: ignore[operator]
        found = json.loads(fetched(client, JOBS))["results"]
    assert [job["cancel_reason"] for job in found] == ["card ******** was refused"] * 12


def test_of_a_task_that_is_gone_no_argument_is_shown(client: Client) -> None:
    arguments = json.dumps([[CARD, {"deep": ["pin-canary"]}], {"card": "other-canary"}])
    told = f"bad {CARD}, pin-canary and other-canary"
    job = make_failed(
        task_name="told.gone",
        arguments=arguments,
        result=json.dumps({"said": told}),
        metadata=json.dumps({"for": CARD}),
        cancel_requested_at=timezone.now(),
        cancel_reason=told,
    )
    make_attempt(job, fence=2, message=told, traceback=told, data=json.dumps([told]), exception_class="x.Y")
    Progress.objects.create(job=job, fence=2, message=told, value=json.dumps(told), updated_at=timezone.now())
    LogLine.objects.create(job=job, fence=2, level=20, logger="x", message=told, created_at=timezone.now())
    for address in (
        JOBS,
        *(f"{JOBS}{job.pk}/{path}" for path in ("", "attempts/", "progress/", "logs/", "events/")),
        ADMIN_JOBS,
        f"{ADMIN_JOBS}?export=csv",
        f"{ADMIN_JOBS}{job.pk}/change/",
        f"{ADMIN_JOBS}failed/",
    ):
        text = fetched(client, address)
        assert "********" in text, address
        assert "canary" not in text, address
    for arguments in (("show", str(job.pk)), ("show", str(job.pk), "--json"), ("jobs", "--json")):
        assert "canary" not in command(*arguments), arguments


def test_the_failure_of_a_child_takes_no_secret_along() -> None:
    sent = child.enqueue(CARD)
    run_jobs()
    with pytest.raises(JobFailed) as caught:
        child.get_result(sent.id).get(timeout=5)
    assert "is not valid" in str(caught.value)
    assert CARD not in str(caught.value)
    failed = parent.enqueue(sent.id)
    run_jobs()
    attempt = Attempt.objects.get(job_id=failed.id)
    assert "is not valid" in attempt.message
    assert CARD not in attempt.message + attempt.traceback


def test_what_a_task_is_declared_with_shows_no_secret(client: Client) -> None:
    for text in (
        command("show", "told.configured"),
        command("show", "told.configured", "--json"),
        command("list", "--json"),
        fetched(client, f"{ADMIN_JOBS}tasks/?q=told.configured"),
    ):
        assert "canary" not in text
    facts = described(configured)
    assert facts["metadata"] == {"api_key": "********", "card": "********", "team": "blue"}
    assert "{'password': '********', 'host': 'db1'}" in facts["signature"]
    assert "('both', {'card': '********'})" in facts["signature"]


def test_a_secret_at_the_edge_of_a_cut_text_is_masked(client: Client) -> None:
    job = make_failed(
        task_name=refuse.name, arguments=json.dumps([[CARD], {}]), cancel_requested_at=timezone.now()
    )
    Job.objects.filter(pk=job.pk).update(cancel_reason="r" * 247 + CARD[:8])
    make_attempt(job, fence=2, message="\n" * 292 + CARD, exception_class="x.Y")
    Progress.objects.create(job=job, fence=2, message="p" * 247 + CARD[:8], updated_at=timezone.now())
    for address in (JOBS, f"{JOBS}{job.pk}/progress/", f"{ADMIN_JOBS}?export=csv", ADMIN_JOBS):
        text = fetched(client, address)
        assert CARD[:8] not in text, address
    assert "********" in fetched(client, f"{ADMIN_JOBS}?export=csv")
    assert CARD[:8] not in command("show", str(job.pk))
