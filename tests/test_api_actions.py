"""Actions over HTTP: what they do, what they refuse, and what they leave unchanged."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.cache import cache
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_tasks_q import task
from django_tasks_q.actions import NAMED
from django_tasks_q.actions.selection import first_id
from django_tasks_q.api import bulk
from django_tasks_q.api.filters import FILTERS
from django_tasks_q.definition.registry import registry
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Firing, Job, Queue
from django_tasks_q.signals import action_performed
from django_tasks_q.tasks import BULK

from .api_support import API, JOBS, client_of, login, make_job, make_schedule, make_user, make_worker
from .conftest import Router
from .test_api_matrix import ALL

pytestmark = pytest.mark.django_db
ADD = "actions.add"


@task(name=ADD, api=True)
def add(a: int, b: int = 0) -> None:
    pass


@task(name="actions.ruled", api=lambda request, task, arguments: arguments.get("a") == 1)
def ruled(a: int) -> None:
    pass


@task(name="actions/enqueue", api=True)
def slashed() -> None:
    pass


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


@pytest.fixture
def client() -> Client:
    return login(*ALL)


def post(client: Client, url: str, **body: Any) -> Any:
    return client.post(url, json.dumps(body), content_type="application/json")


def soon(seconds: float = 60) -> str:
    return (timezone.now() + timedelta(seconds=seconds)).isoformat()


#: By verb: the states that it takes, its body, and the state it leaves.
VERBS: dict[str, tuple[set[str], dict[str, Any], set[str]]] = {
    "retry": ({"FAILED", "CANCELLED", "EXPIRED"}, {}, {"READY"}),
    "cancel": ({"READY", "SCHEDULED", "WAITING", "RUNNING"}, {"reason": "why"}, {"CANCELLED", "RUNNING"}),
    "discard": ({"READY", "SCHEDULED", "WAITING"}, {"reason": "why"}, {"CANCELLED"}),
    "reschedule": ({"READY", "SCHEDULED"}, {"at": True}, {"SCHEDULED"}),
    "run-now": ({"SCHEDULED", "READY"}, {}, {"READY"}),
    "change": ({"READY", "SCHEDULED", "WAITING"}, {"priority": 7, "queue": "other"}, set(JobStatus.values)),
    "dismiss": ({"FAILED", "EXPIRED"}, {"reason": "known"}, {"FAILED", "EXPIRED"}),
    "pin": (set(JobStatus.values), {}, set(JobStatus.values)),
    "unpin": (set(JobStatus.values), {}, set(JobStatus.values)),
    "delete": ({"SUCCESSFUL", "FAILED", "CANCELLED", "EXPIRED"}, {"reason": "why"}, set()),
}
#: What may be asked for twice: the second request finds that it is so already.
REPEATABLE = {"cancel", "run-now", "change", "dismiss", "pin", "unpin", "reschedule"}


@pytest.mark.parametrize("status", JobStatus.values)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_does_it_or_tells_the_state(verb: str, status: str, client: Client) -> None:
    takes, body, leaves = VERBS[verb]
    job = make_job(status=status)
    before = Job.objects.filter(id=job.id).values().get()
    response = post(client, f"{JOBS}{job.id}/{verb}/", **body | ({"at": soon()} if "at" in body else {}))
    if status in takes and verb == "delete":
        assert (response.status_code, response.content) == (204, b"")
        assert not Job.objects.exists()
    elif status in takes:
        assert response.status_code == 200
        assert response.json()["status"] in leaves
        assert response.json()["status"] == Job.objects.get(id=job.id).status
    else:
        assert response.status_code == 409
        assert (response.json()["code"], response.json()["status"]) == ("conflict", status)
        assert Job.objects.filter(id=job.id).values().get() == before


def test_the_response_has_what_a_verb_has_done(client: Client) -> None:
    job = make_job(status="SCHEDULED", run_after=timezone.now() + timedelta(hours=1))
    url = f"{JOBS}{job.id}/"
    changed = post(client, f"{url}change/", priority=-7, queue="other").json()
    assert (changed["priority"], changed["queue"]) == (-7, "other")
    assert post(client, f"{url}change/", priority=3).json()["queue"] == "other"
    assert post(client, f"{url}pin/").json()["pinned_at"] is not None
    assert post(client, f"{url}unpin/").json()["pinned_at"] is None
    assert post(client, f"{url}run-now/").json()["status"] == "READY"
    Job.objects.update(status="FAILED")
    assert post(client, f"{url}dismiss/").json()["dismissed_at"] is not None
    assert post(client, f"{url}delete/").status_code == 204
    assert post(client, f"{url}delete/").status_code == 404


@pytest.mark.parametrize("verb", sorted(REPEATABLE))
def test_a_repeated_request_is_no_conflict(verb: str, client: Client) -> None:
    takes, body, _ = VERBS[verb]
    body = body | ({"at": soon()} if "at" in body else {})
    # A job that is cancelled has ended; one that runs is asked again.
    job = make_job(status="RUNNING" if verb == "cancel" else min(takes))
    url = f"{JOBS}{job.id}/{verb}/"
    assert post(client, url, **body).status_code == 200
    before = Job.objects.values().get()
    assert post(client, url, **body).status_code == 200
    assert Job.objects.values().get() == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_kept_on_record_with_who_and_why(verb: str, client: Client) -> None:
    takes, body, _ = VERBS[verb]
    body = body | {"reason": "because"} | ({"at": soon()} if "at" in body else {})
    status = "SCHEDULED" if verb == "run-now" else min(takes)
    jobs = [make_job(status=status, pinned_at=timezone.now() if verb == "unpin" else None) for _ in "123"]
    other = make_job(status=status, queue_name="left")
    assert post(client, f"{JOBS}{jobs[0].id}/{verb}/", **body).status_code in (200, 204)
    done = post(client, f"{JOBS}bulk/{verb}/", **body, filter={"queue": "default"}).json()
    assert done["done"] + done["requested"] == 2
    entries = LogEntry.objects.order_by("pk")
    assert {entry.object_id for entry in entries} == {str(job.id) for job in jobs}
    assert str(other.id) not in {entry.object_id for entry in entries}
    for entry in entries:
        assert entry.user.get_username() == "user"
        assert entry.is_deletion() == (verb == "delete")
        assert entry.change_message.startswith(f"{NAMED[verb.replace('-', '_')].label} (REST API).")
        assert entry.change_message.endswith("because")
    refused = LogEntry.objects.count()
    assert post(client, f"{JOBS}{make_job(status='WAITING').id}/retry/").status_code == 409
    assert LogEntry.objects.count() == refused


def test_queues_and_workers_have_records_too(client: Client) -> None:
    worker = make_worker(name="host-7")
    for path in ("queues/default/pause/", "queues/default/resume/", f"workers/{worker.id}/stop/"):
        assert post(client, f"{API}{path}", reason="repairs").status_code == 200
    assert post(client, f"{API}queues/default/limit/", max_running=3).status_code == 200
    assert post(client, f"{API}workers/{worker.id}/stop/").status_code == 200  # once more, which is no news
    assert [(entry.object_repr, entry.change_message) for entry in LogEntry.objects.order_by("pk")] == [
        ("default (default)", "Pause (REST API). until = None. repairs"),
        ("default (default)", "Resume (REST API). repairs"),
        ("host-7", "Stop (REST API). repairs"),
        ("default (default)", "Limit (REST API). max_running = 3"),
    ]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("change/", {}, "non_field_errors"),
        ("change/", {"reason": "x"}, "non_field_errors"),
        ("change/", {"priority": 101}, "priority"),
        ("change/", {"priority": "5"}, "priority"),
        ("change/", {"priority": None}, "priority"),
        ("change/", {"queue": ""}, "queue"),
        ("change/", {"queue": "a\nb"}, "queue"),
        ("change/", {"queue": "x" * 129}, "queue"),
        ("change/", {"queue_name": "x"}, "non_field_errors"),
        ("change/", {"priority": 1, "queue_name": "x"}, "queue_name"),
        ("delete/", {"force": True}, "force"),
        ("pin/", {"until": soon()}, "until"),
        ("retry/", {"at": "x"}, "at"),
        ("retry/", {"when": 1}, "when"),
        ("cancel/", {"reason": "x" * 256}, "reason"),
        ("cancel/", {"reason": ["x"]}, "reason"),
        ("reschedule/", {}, "at"),
        ("reschedule/", {"at": None}, "at"),
        ("run-again/", {"arguments": [1]}, "arguments"),
        ("run-again/", {"arguments": {"a": "x"}}, "arguments"),
        ("run-again/", {"arguments": {"a": 1, "c": 1}}, "arguments"),
    ],
)
def test_errors_of_a_bad_body_are_by_field_and_nothing_changes(
    path: str, body: dict[str, Any], field: str, client: Client
) -> None:
    job = make_job(task_name=ADD, status="FAILED")
    before = list(Job.objects.values())
    response = post(client, f"{JOBS}{job.id}/{path}", **body)
    assert (response.status_code, list(response.json())) == (400, [field])
    assert list(Job.objects.values()) == before


def test_a_job_is_run_again_with_its_arguments_or_with_others(client: Client) -> None:
    job = make_job(task_name=ADD, status="SUCCESSFUL", arguments='[[1],{"b":2}]')
    same = post(client, f"{JOBS}{job.id}/run-again/")
    assert same.status_code == 202
    assert (Job.objects.get(id=same.json()["id"]).args, same.json()["parent_id"]) == ([1], str(job.id))
    other = post(client, f"{JOBS}{job.id}/run-again/", arguments={"a": 5})
    assert Job.objects.get(id=other.json()["id"]).kwargs == {"a": 5}
    closed = make_job(task_name="tests.tasksapp.tasks.add", status="FAILED", arguments="[[1],{}]")
    assert post(client, f"{JOBS}{closed.id}/run-again/", arguments={"a": 5}).status_code == 403
    assert post(client, f"{JOBS}{closed.id}/run-again/").status_code == 202
    own = make_job(task_name="actions.ruled", status="FAILED")
    assert post(client, f"{JOBS}{own.id}/run-again/", arguments={"a": 5}).status_code == 403
    assert post(client, f"{JOBS}{own.id}/run-again/", arguments={"a": 1}).status_code == 202
    unknown = make_job(task_name="nobody.knows", status="FAILED")
    refused = post(client, f"{JOBS}{unknown.id}/run-again/", arguments={"a": 5})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_running_again_may_be_repeated_by_a_key(client: Client) -> None:
    job = make_job(task_name=ADD, status="FAILED", arguments="[[1],{}]")

    def again(key: str, url: str = f"{JOBS}{job.id}/run-again/", **body: Any) -> Any:
        return client.post(
            url, json.dumps(body), content_type="application/json", headers={"idempotency-key": key}
        )

    first, second = again("a"), again("a")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["id"] == second.json()["id"]
    assert again("b").json()["id"] != first.json()["id"]
    for other in (again("a", arguments={"a": 2}), again("a", f"{JOBS}{first.json()['id']}/run-again/")):
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert again("c", arguments={"a": "x"}).status_code == 400
    assert again("c", arguments={"a": 3}).status_code == 202
    assert Job.objects.count() == 4
    Job.objects.filter(id=first.json()["id"]).delete()
    assert again("a").status_code == 404


@pytest.fixture
def racers(storage_alias: str, settings: Any) -> str:
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    return storage_alias


@pytest.mark.parametrize("verb", ["retry", "delete", "dismiss", "pin", "change"])
def test_of_racing_requests_one_changes_the_job(verb: str, racers: str) -> None:
    user = make_user(*ALL)
    job = make_job(status="READY" if verb == "change" else "FAILED")
    body = {"priority": 5} if verb == "change" else {}

    def ask(_: int) -> int:
        try:
            return int(post(client_of(user), f"{JOBS}{job.id}/{verb}/", **body).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        statuses = sorted(threads.map(ask, range(6)))
    # One request has done it. The others get a conflict, 404, or a response without a change.
    done = 1 if verb in ("retry", "delete") else 6
    assert len([status for status in statuses if status < 300]) == done
    assert {status for status in statuses if status >= 300} <= {404, 409}
    entries = LogEntry.objects.count()
    assert entries == 1


def test_receivers_get_who_did_what(client: Client, django_capture_on_commit_callbacks: Any) -> None:
    received: list[Any] = []

    def receive(sender: Any, **event: Any) -> None:
        received.append((event["action"], event["ids"], event["user"].username, event["reason"]))

    action_performed.connect(receive)
    try:
        job = make_job()
        with django_capture_on_commit_callbacks(execute=True):
            post(client, f"{JOBS}{job.id}/cancel/", reason="no more")
        assert received == [("cancel", [job.id], "user", "no more")]
    finally:
        action_performed.disconnect(receive)


def test_many_jobs_by_a_filter(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CAP", 3)
    for _ in range(4):
        make_job(status="FAILED", queue_name="a")
    make_job(status="FAILED", queue_name="b")
    make_job(status="RUNNING", queue_name="a")
    body: dict[str, Any] = {"filter": {"queue": "a", "status": "FAILED"}}
    dry = post(client, f"{JOBS}bulk/retry/", **body, dry_run=True).json()
    assert dry == {
        "matched": 3,
        "more": True,
        "dry_run": True,
        "done": 0,
        "requested": 0,
        "skipped": {},
    }
    assert Job.objects.filter(status="FAILED").count() == 5
    assert post(client, f"{JOBS}bulk/retry/", **body).json()["done"] == 3
    rest = post(client, f"{JOBS}bulk/retry/", **body).json()
    assert (rest["done"], rest["more"]) == (1, False)
    assert Job.objects.get(queue_name="b").status == "FAILED"
    monkeypatch.setattr(bulk, "CAP", 10)
    left = post(client, f"{JOBS}bulk/discard/", filter={"queue": "a"}).json()
    assert (left["done"], left["skipped"]) == (4, {})
    asked = post(client, f"{JOBS}bulk/cancel/", filter={"queue": "a"}, reason="x").json()
    assert (asked["done"], asked["requested"], asked["skipped"]) == (0, 1, {})
    named = post(client, f"{JOBS}bulk/discard/", filter={"queue": "a", "status": "RUNNING"}).json()
    assert (named["done"], named["skipped"]) == (0, {"running": 1})


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("verb", VERBS)
def test_jobs_that_a_verb_cannot_change_keep_it_from_no_others(
    verb: str, background: bool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CAP", 3)
    takes, body, _ = VERBS[verb]
    states = NAMED[verb.replace("-", "_")].states
    body = body | ({"at": soon()} if "at" in body else {})
    for status in JobStatus.values:
        if status not in takes:
            for _ in range(3):
                make_job(status=status, queue_name="mine")
    pinned = timezone.now() if verb == "unpin" else None
    wanted = {make_job(status=status, queue_name="mine", pinned_at=pinned).id for status in states[:2]}
    response = post(client, f"{JOBS}bulk/{verb}/", filter={"queue": "mine"}, background=background, **body)
    if background:
        asked = Job.objects.get(id=response.json()["id"])
        selection = registry.get(BULK).decoded((), asked.kwargs)[1]["selection"]
        assert set(selection.of(Job.objects.all()).values_list("id", flat=True)) == wanted
    else:
        assert response.json()["matched"] == len(wanted)
        assert response.json()["more"] is False


@pytest.mark.parametrize("verb", VERBS)
def test_repeated_requests_reach_all_jobs(verb: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an action leaves jobs in their state, too."""
    monkeypatch.setattr(bulk, "CAP", 2)
    status = "RUNNING" if verb == "cancel" else min({*NAMED[verb.replace("-", "_")].states} - {"READY"})
    pinned = timezone.now() if verb == "unpin" else None
    for _ in range(5):
        make_job(status=status, queue_name="mine", pinned_at=pinned)
    body = VERBS[verb][1] | ({"at": soon()} if "at" in VERBS[verb][1] else {})
    body = {key: value for key, value in body.items() if key != "queue"} | {"filter": {"queue": "mine"}}
    url = f"{JOBS}bulk/{verb}/"
    answers = [post(client, url, **body).json() for _ in range(4)]
    assert [each["matched"] for each in answers] == [2, 2, 1, 0]
    assert [each["more"] for each in answers] == [True, True, False, False]
    assert [each["done"] + each["requested"] for each in answers] == [2, 2, 1, 0]
    assert post(client, url, **body, dry_run=True).json()["matched"] == 0


def test_no_repetition_is_asked_for_where_an_action_changes_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CAP", 2)
    for _ in range(3):
        make_job(status="RUNNING", queue_name="mine")
    named = post(client, f"{JOBS}bulk/discard/", filter={"queue": "mine", "status": "RUNNING"}).json()
    assert (named["matched"], named["skipped"], named["more"]) == (2, {"running": 2}, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filter"),
        ({"filter": {}}, "filter"),
        ({"filter": {"arguments": "x"}}, "filter"),
        ({"filter": {"status": "NONE"}}, "filter"),
        ({"filter": {"status": ""}}, "filter"),
        ({"filter": {"status": {"x": 1}}}, "filter"),
        ({"filter": {"tag": "x"}}, "filter"),
        ({"filter": "all"}, "filter"),
        ({"filter": {"queue": "a"}, "dry_run": "perhaps"}, "dry_run"),
        ({"filter": {"queue": "a"}, "cap": 5}, "cap"),
    ],
)
def test_a_bad_filter_does_nothing_to_any(body: dict[str, Any], field: str, client: Client) -> None:
    make_job(queue_name="a")
    response = post(client, f"{JOBS}bulk/cancel/", **body)
    assert (response.status_code, list(response.json())) == (400, [field])
    assert Job.objects.get().status == "READY"


@pytest.mark.parametrize("verb", VERBS)
def test_each_filter_of_the_list_narrows_each_verb_on_many(verb: str, client: Client) -> None:
    body = VERBS[verb][1]
    body = body | ({"at": soon()} if "at" in body else {})
    status = min({*NAMED[verb.replace("-", "_")].states} - {"RUNNING"})
    now, parent = timezone.now(), uuid.uuid4()
    long_ago = first_id(now - timedelta(days=9))
    chosen: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "status": ({}, {"status": status}),
        "queue": ({"queue_name": "mine"}, {"queue": "mine"}),
        "task": ({"task_name": "mine"}, {"task": "mine"}),
        "tag": (
            {"tags": '["mine"]'},
            {"tag": "mine", "enqueued_after": (now - timedelta(days=30)).isoformat()},
        ),
        "parent": ({"parent_id": parent}, {"parent": str(parent)}),
        "schedule": ({}, {"schedule": "mine"}),
        "enqueued_after": ({}, {"enqueued_after": (now - timedelta(days=1)).isoformat()}),
        "enqueued_before": ({"id": long_ago}, {"enqueued_before": (now - timedelta(days=1)).isoformat()}),
    }
    assert set(chosen) == set(FILTERS)
    for name, (fields, by) in chosen.items():
        # The other one differs in what the filter is about, and in nothing else.
        differs: dict[str, Any] = {}
        if name == "status":
            differs = {"status": "WAITING" if status != "WAITING" else "READY"}
        elif name == "enqueued_after":
            differs = {"id": long_ago}
        usual = {"status": status, "pinned_at": now if verb == "unpin" else None}
        other = make_job(**usual | differs)
        job = make_job(**usual | fields)
        if name == "schedule":
            row = make_schedule(name="mine", kind="cron")
            Firing.objects.create(schedule=row, tick=now, outcome="fired", job_id=job.id, fired_at=now)
        before = Job.objects.filter(id=other.id).values().get()
        url = f"{JOBS}bulk/{verb}/"
        cache.clear()
        assert post(client, url, filter=by, dry_run=True, **body).json()["matched"] == 1, name
        later = post(client, url, filter=by, background=True, **body)
        asked = Job.objects.get(id=later.json()["id"])
        selection = registry.get(BULK).decoded((), asked.kwargs)[1]["selection"]
        assert set(selection.of(Job.objects.exclude(id=asked.id)).values_list("id", flat=True)) == {job.id}
        asked.delete()
        if name == "schedule":
            assert post(client, url, filter=by, **body).json()["matched"] == 1
        assert Job.objects.filter(id=other.id).values().get() == before
        Job.objects.all().delete()


def test_a_queue_is_paused_resumed_and_limited(client: Client) -> None:
    url = f"{API}queues/default/"
    until = timezone.now() + timedelta(hours=1)
    paused = post(client, f"{url}pause/", reason="repairs", until=until.isoformat()).json()
    assert (paused["is_paused"], paused["paused_by"], paused["pause_reason"]) == (True, "user", "repairs")
    assert post(client, f"{url}pause/", until="2001-01-01T00:00:00Z").status_code == 409
    assert post(client, f"{url}resume/").json()["is_paused"] is False
    assert post(client, f"{url}limit/", max_running=3).json()["max_running"] == 3
    assert post(client, f"{url}limit/", max_running=None).json()["max_running"] is None
    for wrong in (0, -1, "x", 2**40, [1]):
        response = post(client, f"{url}limit/", max_running=wrong)
        assert (response.status_code, list(response.json())) == (400, ["max_running"])
    assert post(client, f"{API}queues/nobody/pause/").status_code == 404
    assert not Queue.objects.filter(name="nobody").exists()


@pytest.mark.parametrize("ending", ["pause", "resume", "limit"])
def test_the_name_of_a_queue_may_end_as_an_address_does(ending: str, client: Client) -> None:
    names = ["mail", f"mail/{ending}", f"{ending}/{ending}"]
    for name in names:
        make_job(queue_name=name)
        shown = client.get(reverse("django_tasks_q:queue-detail", args=[name]))
        assert (shown.status_code, shown.json()["name"]) == (200, name)
    body = {"max_running": 3} if ending == "limit" else {}
    for name in names:
        address = reverse(f"django_tasks_q:queue-{ending}", args=[name])
        done = client.post(address, body, content_type="application/json")
        assert (done.status_code, done.json()["name"]) == (200, name)
    assert client.get(f"{API}queues/nothing/{ending}/").status_code == 405


def test_the_name_of_a_task_may_end_as_an_address_does(client: Client) -> None:
    shown = client.get(reverse("django_tasks_q:task-detail", args=[slashed.name]))
    assert (shown.status_code, shown.json()["name"]) == (200, slashed.name)
    sent = post(client, reverse("django_tasks_q:task-enqueue", args=[slashed.name]))
    assert (sent.status_code, Job.objects.get().task_name) == (202, slashed.name)


def test_numbers_of_queues_take_few_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    for _ in range(3):
        make_job(queue_name="named", enqueued_at=timezone.now() - timedelta(minutes=5))
    make_job(queue_name="named", status="SCHEDULED")
    make_job(queue_name="named", status="RUNNING")
    make_job(queue_name="named", status="FAILED")
    with django_assert_max_num_queries(11):  # the first four are for the session, the user and permissions
        queues = {queue["name"]: queue for queue in client.get(f"{API}queues/").json()}
    assert len(queues) > 3
    named = queues["named"]
    assert (named["ready"], named["scheduled"], named["running"]) == (3, 1, 1)
    assert 299 <= named["oldest_ready_age"] <= 400
    assert named["is_capped"] is False
    assert queues["default"]["oldest_ready_age"] is None


def test_the_list_of_queues_has_those_that_only_jobs_name(client: Client) -> None:
    make_job(queue_name="unserved")
    make_job(queue_name="ended", status="SUCCESSFUL")
    make_job(queue_name="elsewhere", backend="other")
    names = [queue["name"] for queue in client.get(f"{API}queues/").json()]
    assert "unserved" in names
    assert "ended" not in names
    assert "elsewhere" not in names
    assert names == sorted(names)


def test_thousands_of_queues_are_listed(client: Client, django_assert_max_num_queries: Any) -> None:
    now = timezone.now()
    Job.objects.bulk_create(
        [
            Job(
                task_name="a",
                queue_name=f"q{number}",
                backend="default",
                arguments="[[],{}]",
                enqueued_at=now,
            )
            for number in range(3000)
        ]
    )
    with django_assert_max_num_queries(15):
        response = client.get(f"{API}queues/")
    assert response.status_code == 200
    assert sum(queue["ready"] for queue in response.json()) == 3000


def test_a_job_that_was_retried_has_waited_since_then(client: Client) -> None:
    make_job(queue_name="named", enqueued_at=timezone.now() - timedelta(days=30), run_after=timezone.now())
    shown = client.get(f"{API}queues/named/").json()
    assert shown["oldest_ready_age"] < 600


def test_counts_stop_at_their_cap(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_tasks_q.storage.orm import counting, queue_counts

    monkeypatch.setattr(counting.counts, "__defaults__", (2,))
    for _ in range(4):
        make_job()
    monkeypatch.setattr(queue_counts, "BUDGET", 2)
    monkeypatch.setattr(queue_counts, "LEAST_CAP", 2)
    shown = client.get(f"{API}queues/default/").json()
    assert (shown["ready"], shown["is_capped"]) == (2, True)
    assert client.get(f"{API}stats/").json()["jobs"]["READY"] == {"count": 2, "is_capped": True}


def test_a_worker_is_asked_to_stop(client: Client) -> None:
    worker = make_worker()
    url = f"{API}workers/{worker.id}/"
    assert client.get(url).json()["is_alive"] is True
    assert client.get(f"{API}workers/").json()["results"][0]["id"] == str(worker.id)
    assert post(client, f"{url}stop/", reason="enough").status_code == 200
    assert post(client, f"{url}stop/").status_code == 200
    worker.refresh_from_db()
    assert worker.stop_requested_at is not None
    gone = make_worker(stopped_at=timezone.now())
    refused = post(client, f"{API}workers/{gone.id}/stop/")
    assert (refused.status_code, refused.json()["status"]) == (409, "STOPPED")


def test_health_and_figures(client: Client) -> None:
    sick = client.get(f"{API}health/")
    assert (sick.status_code, sick.json()["healthy"]) == (503, False)
    make_worker()
    make_worker(lease_expires_at=timezone.now() - timedelta(minutes=1))
    assert client.get(f"{API}health/").json() == {"healthy": True, "workers_alive": 1, "workers_late": 1}
    make_job(enqueued_at=timezone.now() - timedelta(seconds=30))
    make_job(status="FAILED")
    stats = client.get(f"{API}stats/?hours=1").json()
    assert stats["jobs"]["READY"] == stats["jobs"]["FAILED"] == {"count": 1, "is_capped": False}
    assert stats["oldest_ready_age"] >= 30
    assert stats["totals"]["failed"] == 0
    assert stats["tasks"] == []
    for wrong in ("0", "x", "169", ""):
        response = client.get(f"{API}stats/?hours={wrong}")
        assert (response.status_code, list(response.json())) == (400, ["hours"])
