"""Actions in the admin: permissions, confirmations, effects and log entries."""

import json
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone

from django_tasks_q import task, tasks
from django_tasks_q.admin import confirmation
from django_tasks_q.admin.verbs import VERBS
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.models import Attempt, Job, Queue
from django_tasks_q.signals import action_performed
from django_tasks_q.storage import Claim, storage_for

from .admin_support import (
    JOBS,
    QUEUES,
    SCREENS,
    WORKERS,
    Page,
    make_failed,
    make_job,
    make_worker,
    page,
    staff,
)

pytestmark = pytest.mark.django_db

VIEWS = ("view_job", "view_queue", "view_worker", "view_payload_job")
#: Each action, its permission, and a state of a job in which it is possible.
DEEDS = {name: (verb.codename, next(iter(sorted(verb.states)))) for name, verb in VERBS.items()}
FILLED_IN = {"reschedule": {"moment": "2099-01-01T10:00"}, "change": {"priority": "7"}}


def do(client: Client, name: str, confirmed: bool = True, **data: Any) -> Any:
    more = {"confirmed": "1"} if confirmed else {}
    return client.post(f"{JOBS}actions/{name}/", {**FILLED_IN.get(name, {}), **data, **more}, follow=True)


def messages_of(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def job_for(name: str) -> Job:
    job = make_job(status=DEEDS[name][1], run_after=timezone.now() + timedelta(days=1), fence=1)
    if name == "unpin":
        Job.objects.filter(pk=job.pk).update(pinned_at=timezone.now())
    return job


@pytest.mark.parametrize("name", DEEDS)
def test_action_needs_its_permission(name: str) -> None:
    job = job_for(name)
    before = Job.objects.values().get()
    others = {codename for codename, _ in DEEDS.values()} - {DEEDS[name][0]}
    without = staff(*VIEWS, *others, "pause_queue", "change_queue", "stop_worker", "add_job")
    assert do(without, name, ids=str(job.pk)).status_code == 403
    assert do(without, name, matching="").status_code == 403
    assert do(without, name, confirmed=False, ids=str(job.pk)).status_code == 403
    assert Job.objects.values().get() == before
    assert f"actions/{name}/" not in without.get(page(job)).content.decode()
    response = do(staff(*VIEWS, DEEDS[name][0], name="may"), name, ids=str(job.pk))
    assert response.status_code == 200
    assert "1 done" in messages_of(response) or "1 asked to end" in messages_of(response)


@pytest.mark.parametrize("name", DEEDS)
def test_action_is_confirmed_done_logged_and_signalled(
    name: str, django_capture_on_commit_callbacks: Any
) -> None:
    client = staff(*VIEWS, DEEDS[name][0])
    job = job_for(name)
    before = Job.objects.values().get()
    asked = do(client, name, confirmed=False, ids=str(job.pk))
    assert asked.status_code == 200
    assert " 1 " in asked.context_data["question"]
    assert Job.objects.values().get() == before
    received: list[dict[str, Any]] = []

    def receive(sender: Any, **arguments: Any) -> None:
        received.append(arguments)

    action_performed.connect(receive)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            do(client, name, ids=str(job.pk), reason="because")
    finally:
        action_performed.disconnect(receive)
    assert list(Job.objects.values()) != [before]
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_id) == ("staff", str(job.pk))
    assert "because" in entry.change_message
    performed = [(each["action"], each["ids"], each["reason"]) for each in received]
    assert performed == [(name, [job.pk], "because")]
    assert received[0]["user"].username == "staff"
    if name != "delete":
        assert "because" in client.get(page(job)).content.decode()


def test_a_reader_sees_no_button_and_is_refused() -> None:
    client = staff(*VIEWS)
    failed, worker = make_failed(), make_worker()
    for url in (*SCREENS, page(failed), page(worker)):
        assert [button for button in Page(client.get(url)).buttons if button] == [], url
    for name in ("pause", "resume", "limit", "clear"):
        assert (
            client.post(f"{QUEUES}actions/{name}/", {"backend": "default", "queue": "x"}).status_code == 403
        )
    assert client.post(f"{WORKERS}{worker.pk}/stop/", {"confirmed": "1"}).status_code == 403
    assert client.post(f"{JOBS}{failed.pk}/again/", {"args": "[]"}).status_code == 403
    assert (Job.objects.get().status, LogEntry.objects.count(), Queue.objects.count()) == ("FAILED", 0, 0)


def test_forms_need_a_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    job, worker = make_failed(), make_worker()
    for url, data in (
        (f"{JOBS}actions/delete/", {"ids": str(job.pk), "confirmed": "1"}),
        (f"{QUEUES}actions/pause/", {"backend": "default", "queue": "default", "confirmed": "1"}),
        (f"{WORKERS}{worker.pk}/stop/", {"confirmed": "1"}),
        (f"{JOBS}{job.pk}/again/", {"args": "[]", "kwargs": "{}"}),
    ):
        assert client.post(url, data).status_code == 403
    assert Job.objects.count() == 1


def test_viewing_changes_nothing(admin_client: Client) -> None:
    job, worker = make_failed(), make_worker()
    urls = [*SCREENS, page(job), page(worker), f"{JOBS}{job.pk}/again/", f"{WORKERS}{worker.pk}/stop/"]
    urls += [f"{JOBS}actions/{name}/?ids={job.pk}&confirmed=1" for name in VERBS]
    urls += [
        f"{QUEUES}actions/{name}/?queue=default&backend=default&confirmed=1" for name in ("pause", "resume")
    ]
    before = (list(Job.objects.values()), list(Queue.objects.values()), worker.stop_requested_at)
    for url in urls:
        for method in (admin_client.get, admin_client.head):
            assert method(url).status_code in (200, 302), url
    worker.refresh_from_db()
    assert (list(Job.objects.values()), list(Queue.objects.values()), worker.stop_requested_at) == before
    assert LogEntry.objects.count() == 0


def test_buttons_fit_the_state(admin_client: Client) -> None:
    def offered(job: Job) -> set[str]:
        buttons = Page(admin_client.get(page(job))).buttons
        return {button.rstrip("/").rpartition("/")[2] for button in buttons if "/actions/" in button}

    assert offered(make_failed()) == {"retry", "dismiss", "pin", "delete"}
    assert offered(make_failed(dismissed_at=timezone.now())) == {"retry", "pin", "delete"}
    assert offered(make_job(status="SUCCESSFUL", pinned_at=timezone.now())) == {"unpin", "delete"}
    assert offered(make_job(status="RUNNING")) == {"cancel", "pin"}
    assert offered(make_job(status="RUNNING", cancel_requested_at=timezone.now())) == {"pin"}
    assert offered(make_job()) == {"reschedule", "change", "cancel", "discard", "pin"}
    later = make_job(status="SCHEDULED", run_after=timezone.now())
    assert offered(later) == {"run_now", "reschedule", "change", "cancel", "discard", "pin"}


def test_confirmation_counts_exactly(admin_client: Client) -> None:
    ids = [make_failed(task_name="a").pk for _ in range(3)] + [make_job(status="RUNNING").pk, uuid.uuid4()]
    asked = do(admin_client, "retry", confirmed=False, ids=" ".join(map(str, ids)))
    shown = " ".join(Page(asked).text.split())
    assert "Retry 3 jobs?" in shown
    assert "These jobs are not changed: 1 × Running." in shown
    done = do(admin_client, "retry", ids=" ".join(map(str, ids)))
    assert "Retry: 3 done, 1 skipped because it is running." in messages_of(done)


def test_all_that_match_are_those_that_were_confirmed(admin_client: Client) -> None:
    first = make_failed(task_name="a")
    make_failed(task_name="b")
    asked = do(admin_client, "retry", confirmed=False, matching="status=failed&task=a")
    ids = asked.context_data["ids"]
    assert ids == str(first.pk)
    later = make_failed(task_name="a")
    do(admin_client, "retry", ids=ids)
    assert set(Job.objects.filter(status="FAILED").values_list("task_name", flat=True)) == {"a", "b"}
    assert Job.objects.get(pk=later.pk).status == "FAILED"


def test_no_more_than_the_cap_at_a_time(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "CAP", 3)
    for _ in range(5):
        make_failed()
    with monkeypatch.context() as patched:
        patched.setattr(tasks, "obstacle", lambda request: "Nobody could.")
        asked = do(admin_client, "dismiss", confirmed=False, matching="status=failed")
        assert "Dismiss 3 failures?" in asked.context_data["question"]
        assert "Nobody could. More than 3 jobs match the filters" in asked.content.decode()
        names = {"ids": asked.context_data["ids"], "all": asked.context_data["matching"]}
        response = do(admin_client, "dismiss", **names)
    assert "Repeat the action" in messages_of(response)
    assert Job.objects.filter(dismissed_at__isnull=True).count() == 2
    many = " ".join(str(uuid.uuid4()) for _ in range(4))
    assert "At most 3" in messages_of(do(admin_client, "retry", ids=many))


@pytest.mark.parametrize(
    "data, message",
    [
        ({}, "No job was selected"),
        ({"ids": "x"}, "not the id of a job"),
        ({"ids": "\x00"}, "not the id of a job"),
        ({"_selected_action": ["1", "é"]}, "not the id of a job"),
        ({"matching": "status=NONE"}, "was ignored"),
        ({"matching": "arguments__icontains=a"}, "was ignored"),
    ],
)
def test_bad_choice_changes_nothing(data: dict[str, Any], message: str, admin_client: Client) -> None:
    make_failed()
    response = do(admin_client, "retry", **data)
    assert response.status_code == 200
    assert message in messages_of(response)
    assert Job.objects.get().status == "FAILED"


@pytest.mark.parametrize(
    "name, data",
    [
        ("reschedule", {"moment": ""}),
        ("reschedule", {"moment": "tomorrow"}),
        ("reschedule", {"moment": "9" * 300}),
        ("change", {"priority": "", "queue_name": ""}),
        ("change", {"priority": "1000"}),
        ("change", {"priority": "x"}),
        ("change", {"queue_name": "a\nb"}),
        ("change", {"queue_name": "x" * 200}),
        ("cancel", {"reason": "x" * 300}),
        ("cancel", {"reason": "a\x1b[31m"}),
    ],
)
def test_bad_form_is_shown_again(name: str, data: dict[str, str], admin_client: Client) -> None:
    job = job_for(name)
    before = Job.objects.values().get()
    response = do(admin_client, name, ids=str(job.pk), **data)
    assert response.status_code == 400
    assert "tasks-problem" in response.content.decode()
    assert Job.objects.values().get() == before
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/x", "javascript:alert(1)"])
def test_redirects_stay_on_this_host(target: str, admin_client: Client) -> None:
    data = {"ids": str(make_failed().pk), "confirmed": "1", "next": target}
    assert admin_client.post(f"{JOBS}actions/retry/", data).url == JOBS
    asked = admin_client.post(f"{JOBS}actions/retry/", {**data, "confirmed": "", "next": target})
    assert target not in asked.content.decode() if asked.status_code == 200 else asked.url == JOBS


def test_unknown_action_is_not_found(admin_client: Client) -> None:
    for url in (f"{JOBS}actions/explode/", f"{QUEUES}actions/explode/"):
        assert admin_client.post(url).status_code == 404


def test_retry_at_a_time(admin_client: Client) -> None:
    job = make_failed()
    do(admin_client, "retry", ids=str(job.pk), at="2099-05-05T12:00")
    job.refresh_from_db()
    assert (job.status, job.run_after.year) == ("SCHEDULED", 2099)


# A new job from an old one


@task(name="again.add", admin=True)
def add(a: int, b: Any = 0, to: str = "") -> None:
    pass


@pytest.fixture
def sender() -> Client:
    return staff(*VIEWS, "add_job", "enqueue_job")


def test_new_job_with_other_arguments(sender: Client) -> None:
    job = make_failed(task_name=add.name, arguments='[[1],{"b":2}]')
    url = f"{JOBS}{job.pk}/again/"
    form = sender.get(url)
    assert form.status_code == 200
    response = sender.post(url, {"args": "[5]", "kwargs": '{"b": 6}', "reason": "why not"})
    new = Job.objects.exclude(pk=job.pk).get()
    assert response.url == page(new)
    assert (new.args, new.kwargs, new.parent_id, new.status) == ([5], {"b": 6}, job.pk, "READY")
    assert LogEntry.objects.count() == 2
    assert Job.objects.get(pk=job.pk).status == "FAILED"


def test_new_job_keeps_the_secrets_of_the_old_one_unless_something_else_changes(sender: Client) -> None:
    old = '[[1],{"b":{"password":"hunter2"}}]'
    job = make_failed(task_name=add.name, arguments=old)
    url = f"{JOBS}{job.pk}/again/"
    assert "hunter2" not in sender.get(url).content.decode()
    kept = {"password": "********"}
    for args, kwargs in (
        ([2], {"b": kept}),
        ([1], {"b": kept, "to": "mallory@example.com"}),
        ([1], {"b": [kept]}),
        ([1, kept], {}),
        ([1], {"to": "********"}),
        ([1, "********"], {}),
    ):
        refused = sender.post(url, {"args": json.dumps(args), "kwargs": json.dumps(kwargs)})
        assert refused.status_code == 400
        assert "Enter them again" in Page(refused).text
    assert Job.objects.count() == 1
    assert sender.post(url, {"args": "[1]", "kwargs": json.dumps({"b": kept})}).status_code == 302
    assert Job.objects.exclude(pk=job.pk).get().arguments == old
    given = {"args": "[2]", "kwargs": '{"b": {"password": "hunter3"}}'}
    assert sender.post(url, given).status_code == 302
    assert Job.objects.order_by("id").last().kwargs == {"b": {"password": "hunter3"}}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["again.add", "tests.tasksapp.tasks.add"])
def test_other_arguments_need_the_permission_to_enqueue_the_task(name: str) -> None:
    job = make_failed(task_name=name, arguments='[[1],{"b":2}]')
    url, same = f"{JOBS}{job.pk}/again/", {"args": "[1]", "kwargs": '{"b": 2}'}
    clients = [staff(*VIEWS, "add_job")]
    if name != add.name:  # not open to the admin
        clients.append(staff(*VIEWS, "add_job", "enqueue_job", name="other"))
    for client in clients:
        for change in ({"args": "[2]"}, {"kwargs": "{}"}):
            refused = client.post(url, same | change)
            assert (refused.status_code, "may not enqueue" in Page(refused).text) == (400, True)
        assert Job.objects.count() == 1
    assert clients[0].post(url, same).status_code == 302


@pytest.mark.parametrize("name", DEEDS)
def test_an_action_shows_nothing_without_the_permission_to_view_jobs(name: str) -> None:
    codename, status = DEEDS[name]
    client, job = staff(codename), make_job(status=status)
    for ids in (str(job.pk), str(uuid.uuid4()), "nonsense"):
        for more in ({}, {"confirmed": "1", **FILLED_IN.get(name, {})}):
            response = client.post(f"{JOBS}actions/{name}/", {"ids": ids, **more})
            assert response.status_code == 403
    assert Job.objects.get().status == status


@pytest.mark.parametrize(
    "data",
    [
        {"args": "[1"},
        {"args": "7"},
        {"kwargs": "[]"},
        {"args": '[1,2,"x","too many"]'},
        {"kwargs": '{"unknown": 1}'},
        {"args": "[NaN]"},
        {"args": "[" * 3000},
    ],
)
def test_arguments_that_do_not_fit_are_refused(data: dict[str, str], sender: Client) -> None:
    job = make_failed(task_name=add.name, arguments='[[1],{"b":2}]')
    response = sender.post(f"{JOBS}{job.pk}/again/", {"args": "[1]", "kwargs": '{"b":2}', **data})
    assert response.status_code == 400
    assert Job.objects.count() == 1


# Queues and workers


def act(client: Client, name: str, **data: Any) -> Any:
    return client.post(
        f"{QUEUES}actions/{name}/",
        {"backend": "default", "queue": "default", "confirmed": "1", **data},
        follow=True,
    )


def test_queue_is_paused_with_user_reason_and_end_and_resumed() -> None:
    client = staff("view_queue", "pause_queue")
    make_job()
    asked = client.post(f"{QUEUES}actions/pause/", {"backend": "default", "queue": "default"})
    assert asked.status_code == 200
    assert not Queue.objects.exists()
    act(client, "pause", reason="broken gateway", until="2099-01-01T00:00")
    row = Queue.objects.get()
    assert (row.is_paused, row.paused_by, row.pause_reason, row.paused_until.year) == (
        True,
        "staff",
        "broken gateway",
        2099,
    )
    shown = client.get(QUEUES).content.decode()
    assert "broken gateway" in shown
    assert "by staff" in shown
    act(client, "resume")
    assert not Queue.objects.exists()
    assert [entry.change_message for entry in LogEntry.objects.order_by("pk")] == [
        "Pause. Until 01/01/2099 00:00:00. broken gateway",
        "Resume",
    ]


def test_queue_is_limited() -> None:
    client = staff("view_queue", "change_queue")
    act(client, "limit", max_running="3")
    assert Queue.objects.get().max_running == 3
    act(client, "limit", max_running="")
    assert not Queue.objects.exists()


def test_queue_is_cleared_when_its_name_is_typed() -> None:
    client = staff("view_queue", "view_job", "discard_job")
    make_job(), make_job(status="SCHEDULED"), make_job(status="RUNNING"), make_job(queue_name="other")
    assert act(client, "clear", typed="defualt").status_code == 400
    assert Job.objects.filter(status="CANCELLED").count() == 0
    assert "2 done" in messages_of(act(client, "clear", typed="default", reason="spilt"))
    assert Job.objects.filter(status="CANCELLED", cancel_reason="spilt").count() == 2


@pytest.mark.parametrize(
    "name, data",
    [
        ("pause", {"until": "never"}),
        ("pause", {"until": "2001-01-01T00:00"}),
        ("pause", {"reason": "x" * 300}),
        ("limit", {"max_running": "0"}),
        ("limit", {"max_running": "many"}),
        ("clear", {"typed": ""}),
    ],
)
def test_bad_form_of_a_queue_is_shown_again(name: str, data: dict[str, str], admin_client: Client) -> None:
    assert act(admin_client, name, **data).status_code == 400
    assert not Queue.objects.exists()


@pytest.mark.parametrize("queue", ["", "a\nb", "x" * 200, "\x00"])
def test_bad_name_of_a_queue(queue: str, admin_client: Client) -> None:
    assert "not a valid name of a queue" in messages_of(act(admin_client, "pause", queue=queue))


def test_worker_is_asked_to_stop() -> None:
    client = staff("view_worker", "stop_worker")
    worker = make_worker()
    url = f"{WORKERS}{worker.pk}/stop/"
    assert client.post(url).status_code == 200
    worker.refresh_from_db()
    assert worker.stop_requested_at is None
    client.post(url, {"confirmed": "1"})
    worker.refresh_from_db()
    assert worker.stop_requested_at is not None
    assert LogEntry.objects.get().object_id == str(worker.pk)
    assert "skipped" in messages_of(client.post(url, {"confirmed": "1"}, follow=True))
    assert "No worker" in messages_of(client.post(f"{WORKERS}{uuid.uuid4()}/stop/", follow=True))


# Beside workers


def test_concurrent_users_and_workers_keep_every_job_consistent(storage_alias: str) -> None:
    """Workers claim and finish jobs while users cancel, retry, discard and delete them."""
    jobs = [make_job_on(storage_alias) for _ in range(40)]
    user = User.objects.db_manager(storage_alias).create_superuser("root")
    storage = storage_for(storage_alias)
    worker = make_worker_on(storage_alias)
    stop = threading.Event()
    errors: list[BaseException] = []
    from django_tasks_q import actions

    def work() -> None:
        try:
            claim = Claim(worker_id=worker, backend="default", task_names=["shop.ship"])
            while not stop.is_set():
                claimed = storage.jobs.claim(claim, 5)
                storage.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.1) for job in claimed])
        except BaseException as error:
            errors.append(error)
        finally:
            connections[storage_alias].close()

    def act_on_jobs(verb: Any) -> None:
        try:
            for _ in range(8):
                verb([job.pk for job in jobs], using=storage_alias, user=user)
        except BaseException as error:
            errors.append(error)
        finally:
            connections[storage_alias].close()

    worker_thread = threading.Thread(target=work)
    people = [
        threading.Thread(target=act_on_jobs, args=[verb])
        for verb in (actions.cancel, actions.retry, actions.pin)
    ]
    worker_thread.start()
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    stop.set()
    worker_thread.join(60)
    assert errors == []
    for job in Job.objects.using(storage_alias).all():
        assert (job.finished_at is not None) == job.is_finished
        assert (job.result is not None) == (job.status == "SUCCESSFUL")
        assert job.pinned_at is not None
    assert not Attempt.objects.using(storage_alias).filter(outcome="failed").exists()


def make_job_on(alias: str) -> Job:
    return Job.objects.using(alias).create(
        task_name="shop.ship",
        queue_name="default",
        backend="default",
        arguments="[[],{}]",
        enqueued_at=timezone.now(),
    )


def make_worker_on(alias: str) -> uuid.UUID:
    from django_tasks_q.models import Worker

    now = timezone.now()
    worker = Worker.objects.using(alias).create(
        name="w",
        hostname="h",
        pid=1,
        backend="default",
        processes=1,
        version="1",
        started_at=now,
        heartbeat_at=now,
        lease_expires_at=now + timedelta(minutes=5),
    )
    return worker.pk


def test_a_job_that_changed_since_the_confirmation_is_skipped(admin_client: Client) -> None:
    job = make_job()
    asked = do(admin_client, "discard", confirmed=False, ids=str(job.pk))
    assert "Discard 1 job?" in asked.context_data["question"]
    Job.objects.filter(pk=job.pk).update(status="RUNNING", fence=1)
    response = do(admin_client, "discard", ids=str(job.pk))
    assert "0 done, 1 skipped because it is running" in messages_of(response)
    assert Job.objects.get().status == "RUNNING"
    assert LogEntry.objects.count() == 0


# The log entries, and the user of a pause


def test_a_pause_of_another_user_is_not_overwritten_silently() -> None:
    client = staff(*VIEWS, "pause_queue")
    paused = timezone.now()

    def pause(**more: str) -> Any:
        form = {"backend": "default", "queue": "emails", **more}
        return client.post(f"{QUEUES}actions/pause/", form, follow=True)

    asked = pause()
    assert "is already paused" not in Page(asked).text
    Queue.objects.create(
        backend="default", name="emails", paused_at=paused, paused_by="anna", pause_reason="mail is down"
    )
    # It was paused after the page was made.
    late = pause(confirmed="1", known=asked.context_data["known"], reason="mine")
    assert late.status_code == 400
    assert Queue.objects.get().pause_reason == "mail is down"
    assert "already paused: anna, mail is down" in " ".join(Page(late).text.split())
    pause(confirmed="1", known=late.context_data["known"], reason="mine")
    assert Queue.objects.get().pause_reason == "mine"
    assert LogEntry.objects.get().change_message == "Pause. Previous pause: anna, mail is down. mine"


def test_a_changed_limit_is_logged_with_both_values() -> None:
    client = staff(*VIEWS, "change_queue")
    for value in ("5", "3", ""):
        client.post(
            f"{QUEUES}actions/limit/",
            {"backend": "default", "queue": "emails", "max_running": value, "confirmed": "1"},
        )
    logged = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert list(logged) == [
        "Change the limit: – → 5",
        "Change the limit: 5 → 3",
        "Change the limit: 3 → –",
    ]
