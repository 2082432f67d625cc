"""Bulk actions in the background: a job acts in the name of a user."""

import json
import uuid
from datetime import timedelta
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.cache import cache
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from django_tasks_q import enqueue, schedule, tasks
from django_tasks_q.access import request_of
from django_tasks_q.actions import (
    NAMED,
    Reason,
    Selection,
    Walk,
    cancel,
    retry,
    run_again,
    run_schedule,
    save_schedule,
)
from django_tasks_q.admin import confirmation
from django_tasks_q.admin.job_list import TABS, Filters, page_of
from django_tasks_q.admin.verbs import VERBS
from django_tasks_q.api.filters import FILTERS, filtered, selection_of
from django_tasks_q.compat import InvalidTask, task_backends
from django_tasks_q.definition.registry import registry
from django_tasks_q.models import Firing, Job, Progress, Schedule
from django_tasks_q.results.mapper import task_result
from django_tasks_q.scheduling.fire import Firings
from django_tasks_q.signals import action_performed
from django_tasks_q.testing import run_jobs

from .admin_support import BASE, HOSTILE, JOBS, Page, make_failed, make_job, page, staff
from .api_support import JOBS as API_JOBS
from .api_support import client_of
from .project import Project
from .test_worker import finished, options

FAILED = Selection(status="FAILED", undismissed=True)


@pytest.fixture
def any_database(storage_alias: str, settings: Any) -> str:
    """Users and jobs in the same one."""
    from .conftest import Router

    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    return storage_alias


def person(*codenames: str, name: str = "asker", **flags: Any) -> User:
    """Return a user who may see jobs, and has these permissions."""
    user = User.objects.create_user(name, **flags)
    codenames = ("view_job", *codenames)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_tasks_q", codename__in=codenames)
    )
    return user


def asked(user: User, verb: str = "retry", selection: Selection = FAILED, **values: Any) -> Job:
    result = tasks.enqueue_bulk(request_of(user), verb, selection, **values)
    return Job.objects.get(id=result.id)


def ended(job: Job) -> Job:
    run_jobs(limit=1)
    job.refresh_from_db()
    return job


def by_queue(request: Any, jobs: Any) -> Any:
    return jobs.filter(queue_name=request.user.username)


def by_header(request: Any, jobs: Any) -> Any:
    return jobs.filter(queue_name=request.headers.get("X-Tenant", "all"))


def by_host(request: Any, jobs: Any) -> Any:
    return jobs.filter(queue_name=request.META["SERVER_NAME"])


def set_scope(settings: Any, scope: Any) -> None:
    default = settings.TASKS["default"]
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | {"SCOPE_JOBS": scope}}}


def test_all_that_match_are_retried_in_slices_and_reported(
    any_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "SLICE", 3)
    failed = {make_failed().pk for _ in range(7)}
    others = [make_job(status="SUCCESSFUL").pk, make_failed(dismissed_at=timezone.now()).pk]
    received: list[Any] = []

    def receive(sender: Any, **event: Any) -> None:
        received.append((event["action"], event["ids"], event["user"].username, event["reason"]))

    action_performed.connect(receive)
    try:
        job = ended(asked(person("retry_job"), reason="mail is back"))
    finally:
        action_performed.disconnect(receive)
    assert (job.status, job.return_value) == ("SUCCESSFUL", {"done": 7, "requested": 0, "skipped": {}})
    assert set(Job.objects.filter(status="READY").values_list("id", flat=True)) == failed
    assert Job.objects.filter(id__in=others, status__in=("SUCCESSFUL", "FAILED")).count() == 2
    assert [(action, len(ids), who, why) for action, ids, who, why in received] == [
        ("retry", count, "asker", "mail is back") for count in (3, 3, 1)
    ]
    assert {id for _, ids, _, _ in received for id in ids} == failed
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_id) == ("asker", str(job.pk))
    assert entry.change_message == "Retry: 7 done. mail is back"
    progress = Progress.objects.get(job=job)
    assert (progress.current, progress.total, progress.message) == (7, 7, "7 done")


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMED)
def test_every_verb_has_its_permission_and_does_what_it_does_at_once(name: str) -> None:
    verb = VERBS[name]
    assert (verb.function, verb.codename) == (NAMED[name].function, NAMED[name].codename)
    status = next(iter(sorted(verb.states)))
    later = timezone.now() + timedelta(days=1)
    pinned = timezone.now() if name == "unpin" else None
    target = make_job(status=status, run_after=later, pinned_at=pinned, queue_name="target")
    left = make_job(status="WAITING" if name not in ("change", "cancel", "discard") else "SUCCESSFUL")
    more: dict[str, Any] = {"at": later} if name in ("reschedule", "retry") else {}
    more |= {"priority": 7} if name == "change" else {}
    before = Job.objects.filter(id=target.id).values().first()
    others = {named.codename for named in NAMED.values()} - {verb.codename}
    refused = ended(asked(person(*others, name="other"), name, Selection(queue="target"), **more))
    assert (refused.status, refused.error_code) == ("FAILED", "UNHANDLED_EXCEPTION")
    assert Job.objects.filter(id=target.id).values().first() == before
    job = ended(asked(person(verb.codename), name, Selection(queue="target"), **more))
    assert job.status == "SUCCESSFUL"
    assert job.return_value["done"] + job.return_value["requested"] == 1
    assert Job.objects.filter(id=target.id).values().first() != before
    assert Job.objects.get(id=left.id).status == left.status


@pytest.mark.django_db
def test_who_asked_must_still_be_allowed_when_it_runs() -> None:
    make_failed()
    for number, lose in enumerate(
        (
            lambda user: user.user_permissions.clear(),
            lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
            lambda user: user.delete(),
        )
    ):
        user = person("retry_job", name=f"asker {number}")
        job = asked(user)
        lose(user)
        assert ended(job).status == "FAILED"
        assert (job.attempts, job.attempt_set.get().exception_class) == (
            1,
            "django.core.exceptions.PermissionDenied",
        )
    assert Job.objects.filter(task_name="shop.ship", status="FAILED").count() == 1
    assert LogEntry.objects.count() == 0


@pytest.mark.django_db
def test_what_comes_after_the_asking_is_left_alone() -> None:
    old, later = make_failed(), make_failed()
    job = asked(person("retry_job"))
    Job.objects.filter(pk=later.pk).update(finished_at=timezone.now() + timedelta(seconds=5))
    moment = timezone.now() + timedelta(seconds=5)
    new = make_failed(id=uuid.UUID(int=int(moment.timestamp() * 1000) << 80))
    assert ended(job).return_value["done"] == 1
    statuses = dict(Job.objects.exclude(pk=job.pk).values_list("id", "status"))
    assert statuses == {old.pk: "READY", later.pk: "FAILED", new.pk: "FAILED"}


@pytest.mark.django_db
def test_it_never_does_anything_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    make_job()
    everything = Selection()
    # Even where its id is that of an earlier time, as from a host whose clock is slow.
    early = uuid.UUID(int=1)
    monkeypatch.setattr("django_tasks_q.backends.lazy.uuid7_texts", lambda count: [str(early)])
    asked(person("cancel_job"), "cancel", everything)
    run_jobs(limit=1)
    job = Job.objects.get(pk=early)
    assert (job.status, job.return_value) == ("SUCCESSFUL", {"done": 1, "requested": 0, "skipped": {}})


def test_an_attempt_goes_on_behind_the_last_slice(any_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "SLICE", 2)
    failed = [make_failed().pk for _ in range(7)]
    job = asked(person("retry_job"))
    received: list[uuid.UUID] = []
    save = tasks._record

    def outage(context: Any, *more: Any) -> None:
        save(context, *more)
        if len(received) == 4:
            raise OperationalError("the server is gone")

    def receive(sender: Any, ids: Any, **event: Any) -> None:
        received.extend(ids)

    action_performed.connect(receive)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(tasks, "_record", outage)
            ended(job)
        assert (job.status, job.attempts, Job.objects.filter(status="FAILED").count()) == ("SCHEDULED", 1, 3)
        # A retried job may fail again meanwhile, which the request did not mean.
        again = timezone.now() + timedelta(seconds=1)
        Job.objects.filter(id__in=failed[:4]).update(status="FAILED", finished_at=again)
        Job.objects.filter(pk=job.pk).update(run_after=timezone.now())
        ended(job)
    finally:
        action_performed.disconnect(receive)
    assert (job.status, job.return_value["done"]) == ("SUCCESSFUL", 7)
    assert received == failed
    assert LogEntry.objects.get().change_message == "Retry: 7 done."


@pytest.mark.django_db
def test_run_once_more_from_the_start_it_changes_nothing_more() -> None:
    failed = [make_failed().pk for _ in range(3)]
    job = ended(asked(person("retry_job")))
    again = timezone.now() + timedelta(seconds=1)
    Job.objects.filter(id__in=failed).update(status="FAILED", finished_at=again)
    Job.objects.filter(pk=job.pk).update(status="READY", metadata=None, run_after=timezone.now())
    assert ended(job).return_value == {"done": 0, "requested": 0, "skipped": {}}
    assert Job.objects.filter(id__in=failed, status="FAILED").count() == 3


@pytest.mark.django_db
def test_it_ends_between_two_slices_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_tasks_q.execution.control import Control

    monkeypatch.setattr(tasks, "SLICE", 2)
    for _ in range(5):
        make_failed()
    job = asked(person("retry_job"))
    check, looks = Control.check, []

    def wanted(control: Control) -> None:
        looks.append(Job.objects.filter(status="READY").count())
        if len(looks) == 2:
            control.cancel()
        check(control)

    monkeypatch.setattr(Control, "check", wanted)
    assert ended(job).status == "CANCELLED"
    assert (looks, Job.objects.filter(status="FAILED").count()) == ([2, 4], 1)
    assert LogEntry.objects.get().change_message == "Retry: 4 done."


@pytest.mark.django_db
def test_skipped_jobs_are_counted_by_reason() -> None:
    make_failed(queue_name="a")
    for status in ("RUNNING", "RUNNING", "SUCCESSFUL"):
        make_job(status=status, queue_name="a")
    job = ended(asked(person("retry_job"), selection=Selection(queue="a")))
    assert job.return_value == {"done": 1, "requested": 0, "skipped": {"running": 2, "succeeded": 1}}
    message = LogEntry.objects.get().change_message
    assert "1 done, " in message
    assert "2 skipped because each is running" in message
    assert "1 skipped because it has succeeded" in message


@pytest.mark.django_db
def test_nothing_makes_a_copy_of_it() -> None:
    make_failed()
    job = asked(User.objects.create_superuser("root"), "delete")
    cancel(job.pk)
    task = registry.get(tasks.BULK)
    for copied in (
        lambda: run_again(job.pk),
        lambda: run_again(job.pk, kwargs=job.kwargs),
        lambda: task.enqueue(**job.kwargs),
        lambda: task.using(priority=1).enqueue_many([job.kwargs]),
        lambda: task.bind(**job.kwargs).enqueue(),
        lambda: enqueue(tasks.BULK, kwargs=job.kwargs),
        lambda: enqueue(f"{tasks.BULK}_of_another_release", kwargs=job.kwargs, allow_unregistered=True),
        lambda: save_schedule("x", tasks.BULK, kwargs=job.kwargs, every=60),
        lambda: schedule("x", task.bind(**job.kwargs), every=60),
    ):
        with pytest.raises(InvalidTask, match="itself"):
            copied()
    assert Job.objects.count() == 2
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_a_copy_or_an_edit_of_it_that_is_stored_all_the_same_does_nothing(settings: Any) -> None:
    make_failed()
    job = asked(User.objects.create_superuser("root"), "delete", Selection(queue="elsewhere"))
    values = {field.name: getattr(job, field.name) for field in Job._meta.fields}
    copy = Job.objects.create(**values | {"id": uuid.uuid4()})
    edited = asked(User.objects.create_superuser("other"), "delete", Selection(queue="elsewhere"))
    for change in (
        {"selection": {"status": "FAILED"}},
        {"user": str(User.objects.get(username="root").pk)},
        {"signature": ""},
        {"signature": None},
        {"signature": job.kwargs["signature"]},
    ):
        text = json.dumps([[], {**edited.kwargs, **change}])
        Job.objects.filter(pk=edited.pk).update(arguments=text, status="READY", attempts=0)
        for row in (edited, copy):
            run_jobs()
            row.refresh_from_db()
            assert (row.status, row.attempt_set.latest("fence").exception_class) == (
                "FAILED",
                "django.core.exceptions.PermissionDenied",
            )
    assert Job.objects.get(pk=job.pk).status == "SUCCESSFUL"
    assert Job.objects.filter(task_name="shop.ship").count() == 1


@pytest.mark.django_db
def test_a_request_stays_good_when_the_secret_key_is_changed(settings: Any) -> None:
    make_failed()
    job = asked(person("retry_job"))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert ended(job).return_value["done"] == 1
    later = asked(person("retry_job", name="later"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a third", []
    assert ended(later).status == "FAILED"


@pytest.mark.django_db
def test_a_stored_schedule_of_it_does_not_fire_and_says_so() -> None:
    make_failed()
    job = asked(User.objects.create_superuser("root"), "delete")
    cancel(job.pk)
    row = Schedule.objects.create(
        backend="default",
        name="forged",
        origin="database",
        task_name=tasks.BULK,
        arguments=job.arguments,
        kind="every",
        expression="60",
        next_at=timezone.now(),
    )
    backend: Any = task_backends["default"]
    Firings(backend.storage, backend).fire()
    assert Job.objects.count() == 2
    tick = Firing.objects.get(schedule=row)
    assert (tick.outcome, "itself" in tick.reason) == ("failed", True)
    with pytest.raises(InvalidTask):
        run_schedule("forged")
    client = staff("view_job", "view_schedule", "run_schedule", "change_schedule", "view_payload_job")
    address = f"{BASE}schedule/{row.pk}/"
    assert "itself" in Page(client.get(f"{address}change/")).text
    assert f'value="{tasks.BULK}"' not in client.get(f"{address}edit/").content.decode()
    response = client.post(f"{BASE}schedule/actions/run/", {"id": row.pk, "confirmed": "1"}, follow=True)
    assert "itself" in Page(response).text
    assert Job.objects.count() == 2


@pytest.mark.django_db
def test_only_the_user_who_requested_it_can_repeat_it() -> None:
    make_failed()
    asker, root = person("delete_job", "retry_job"), User.objects.create_superuser("root")
    job = asked(asker, "delete")
    cancel(job.pk)
    for user in (None, root, AnonymousUser()):
        done = retry(job.pk, user=user)
        assert (done.done, done.skipped) == (set(), {Reason.OTHERS: {job.pk}})
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("tasks", "retry", str(job.pk), stdout=out)
    assert "1 skipped: is another user's request" in out.getvalue()
    for by in ({"status": "CANCELLED"}, {"task": tasks.BULK}):
        body = {"filter": by}
        done = post(client_of(root), "bulk/retry/", **body).json()
        assert (done["done"], done["skipped"]) == (0, {"others": 1})
        again = asked(root, "retry", Selection(**by))
        assert ended(again).return_value == {"done": 0, "requested": 0, "skipped": {"others": 1}}
        again.delete()
    refused = post(client_of(root), f"{job.pk}/retry/")
    assert refused.status_code == 403
    assert "who requested" in refused.json()["detail"]
    admin = Client()
    admin.force_login(root)
    for action in ({"ids": str(job.pk)}, {"matching": "status=cancelled"}):
        shown = admin.post(f"{JOBS}actions/retry/", {**action, "confirmed": "1"}, follow=True)
        assert "another user's request" in unescape(Page(shown).text)
    job.refresh_from_db()
    assert job.status == "CANCELLED"
    assert post(client_of(asker), f"{job.pk}/retry/").status_code == 200
    assert ended(job).return_value["done"] == 1
    assert LogEntry.objects.get(object_id=str(job.pk), change_message="Delete: 1 done.").user == asker


@pytest.mark.django_db
def test_it_is_no_task_that_anybody_is_offered() -> None:
    root = User.objects.create_superuser("root")
    job = asked(root, "delete")
    client = client_of(root)
    api = API_JOBS.removesuffix("jobs/")
    assert tasks.BULK not in [task["name"] for task in client.get(f"{api}tasks/").json()]
    assert client.get(f"{api}tasks/{tasks.BULK}/").status_code == 404
    assert post(client, f"../tasks/{tasks.BULK}/enqueue/", **job.kwargs).status_code == 404
    body = {"task": tasks.BULK, "arguments": job.kwargs, "every": 60}
    assert post(client, "../schedules/x/save/", **body).status_code == 404
    for given in ({}, {"arguments": job.kwargs}):
        assert post(client, f"{job.pk}/run-again/", **given).status_code in (403, 409)
    address = f'value="{tasks.BULK}"'
    assert address not in client.get(f"{BASE}schedule/add/").content.decode()
    form = {"name": "x", "task": tasks.BULK, "kind": "every", "expression": "60", "timezone": "UTC"}
    more = {"missed": "one", "overlap": "allow", "args": "[]", "kwargs": json.dumps(job.kwargs)}
    assert client.post(f"{BASE}schedule/add/", form | more).status_code == 400
    assert client.get(f"{JOBS}enqueue/?task={tasks.BULK}").status_code == 404
    assert tasks.BULK not in Page(client.get(f"{JOBS}tasks/")).text
    assert f"{job.pk}/again/" not in client.get(page(job)).content.decode()
    shown = client.get(f"{JOBS}{job.pk}/again/").context_data
    sent = {"args": "[]", "kwargs": json.dumps(shown["form"].initial["kwargs"]), "reason": ""}
    assert client.post(f"{JOBS}{job.pk}/again/", sent).status_code == 400
    assert Job.objects.count() == 1
    assert not Schedule.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "bad",
    [
        {"verb": "os.system"},
        {"selection": {"status": "NONE"}},
        {"selection": {"extra": "1=1"}},
        {"selection": {"worker": "x"}},
        {"selection": {"task": 5}},
        {"selection": {"retrying": "yes"}},
        {"selection": "id is not null"},
        {"priority": 1000},
        {"user": "x" * 10},
    ],
)
def test_a_stored_call_that_is_none_does_nothing(bad: dict[str, Any]) -> None:
    make_failed()
    job = asked(User.objects.create_superuser("root"))
    arguments = [[], {**job.kwargs, **({"verb": "change"} if "priority" in bad else {}), **bad}]
    Job.objects.filter(pk=job.pk).update(arguments=json.dumps(arguments))
    assert ended(job).status == "FAILED"
    assert Job.objects.filter(task_name="shop.ship", status="FAILED").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("verb", "values"),
    [
        ("change", {}),
        ("change", {"priority": 1000}),
        ("retry", {"at": "tomorrow"}),
        ("retry", {"reason": "x" * 256}),
        ("retry", {"priority": 5}),
    ],
)
def test_bad_values_are_refused_when_they_are_asked_for(verb: str, values: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        asked(User.objects.create_superuser("root"), verb, **values)
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_filter_of_the_admin_and_the_value_of_it_find_the_same() -> None:
    now = timezone.now()
    worker, old = uuid.uuid4(), uuid.UUID(int=int((now - timedelta(days=9)).timestamp() * 1000) << 80)
    states = ("READY", "SCHEDULED", "RUNNING", "FAILED", "SUCCESSFUL", "CANCELLED", "EXPIRED")
    for number, status in enumerate(states):
        for more in (
            {},
            {"task_name": "b"},
            {"queue_name": "b", "tags": '["t"]'},
            {"worker_id": worker, "attempts": 1, "dismissed_at": now},
            {"id": uuid.UUID(int=old.int + number)},
        ):
            make_job(status=status, run_after=now, **more)
    for tab in TABS:
        for query in ("", "&task=b", "&queue=b&tag=t", f"&worker={worker}", "&window=24h", "&dismissed=1"):
            filters = Filters.parse(f"status={tab}{query}")
            assert not filters.problems
            found = {job.pk for job in page_of(Job.objects.all(), filters, "", 100).rows}
            walk = Walk(filters.selection(), Job.objects.all())
            assert walk.count() == len(found)
            ids = []
            while not walk.is_over:
                ids += walk.ids(2)
            assert (set(ids), len(ids)) == (found, len(found)), (tab, query)


@pytest.mark.django_db
def test_a_filter_of_the_api_and_the_value_of_it_find_the_same() -> None:
    parent, now = uuid.uuid4(), timezone.now()
    old = uuid.UUID(int=int((now - timedelta(days=9)).timestamp() * 1000) << 80)
    for more in ({}, {"task_name": "b"}, {"queue_name": "b"}, {"tags": '["t"]'}, {"parent_id": parent}):
        make_job(**more)
        make_failed(**more)
    make_failed(id=old)
    moment = (now - timedelta(days=1)).isoformat()
    cases: tuple[dict[str, str], ...] = (
        {"status": "FAILED"},
        {"task": "b"},
        {"queue": "b"},
        {"tag": "t", "enqueued_after": moment},
        {"parent": str(parent)},
        {"enqueued_after": moment},
        {"enqueued_before": moment},
        {"schedule": "nightly"},
    )
    save_schedule("nightly", "tests.tasksapp.tasks.noop", cron="0 3 * * *")
    assert run_schedule("nightly")
    assert {name for case in cases for name in case} == set(FILTERS)
    for case in cases:
        found = set(filtered(Job.objects.all(), case, None).values_list("id", flat=True))
        value = selection_of(case)
        assert found
        assert set(value.of(Job.objects.all()).values_list("id", flat=True)) == found, case


# The admin


def confirm(client: Client, name: str, **data: Any) -> Any:
    return client.post(f"{JOBS}actions/{name}/", data)


@pytest.mark.django_db
def test_the_admin_offers_it_above_the_cap_and_leads_to_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "CAP", 3)
    client = staff("view_job", "retry_job")
    for _ in range(5):
        make_failed(task_name="a")
    make_failed(task_name="b")
    asked = confirm(client, "retry", matching="status=failed&task=a")
    assert "Retry: all 5, in the background" in " ".join(Page(asked).text.split())
    assert asked.context_data["question"] == "Retry 5 jobs?"
    form = {"all": asked.context_data["matching"], "confirmed": "1", "background": "1"}
    assert confirm(client, "retry", **form, at="never").status_code == 400
    response = client.post(f"{JOBS}actions/retry/", {**form, "reason": "because"}, follow=True)
    job = Job.objects.get(task_name=tasks.BULK)
    assert response.redirect_chain == [(page(job), 302)]
    assert f"as job {job.pk}" in Page(response).text
    assert (job.queue_name, job.priority, job.status) == ("default", 100, "READY")
    ended(job)
    assert Job.objects.filter(task_name="a", status="READY").count() == 5
    assert Job.objects.get(task_name="b").status == "FAILED"
    shown = Page(client.get(page(job))).text
    assert "Retry: 5 done. because" in shown
    monkeypatch.setattr(confirmation, "COUNTED", 4)
    Job.objects.filter(task_name="a").update(status="FAILED")
    again = confirm(client, "retry", matching="status=failed&task=a")
    assert "all at least 4, in the background" in Page(again).text
    # What has become too many since it was asked about is asked about anew.
    confirm(client, "retry", matching="status=failed&task=a", confirmed="1")
    assert Job.objects.filter(task_name="a", status="READY").count() == 0


@pytest.mark.django_db
def test_the_admin_asks_for_the_permission_and_for_a_filter_that_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirmation, "CAP", 1)
    jobs = [make_failed(task_name=HOSTILE) for _ in range(3)]
    form = {"ids": str(jobs[0].pk), "all": "status=failed", "confirmed": "1", "background": "1"}
    assert confirm(staff("view_job", "cancel_job"), "retry", **form).status_code == 403
    client = staff("view_job", "retry_job", name="may")
    for query in ("status=NONE", "arguments__icontains=x", f"task={'x' * 300}"):
        assert confirm(client, "retry", **{**form, "all": query}).status_code == 302
    assert not Job.objects.filter(task_name=tasks.BULK).exists()
    asked = confirm(client, "retry", matching="status=failed")
    assert HOSTILE not in asked.content.decode()
    assert Page(asked).inline == []
    token = Client(enforce_csrf_checks=True)
    token.force_login(User.objects.get(username="may"))
    assert confirm(token, "retry", **form).status_code == 403


@pytest.mark.django_db
def test_where_no_worker_could_do_it_the_admin_does_not_offer_it(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(confirmation, "CAP", 1)
    for _ in range(3):
        make_failed(queue_name="testserver")
    client = staff("view_job", "retry_job")
    set_scope(settings, by_host)
    asked = confirm(client, "retry", matching="status=failed")
    assert "in the background" not in Page(asked).text
    assert "Repeat the action for the next ones" in Page(asked).text
    form = {"ids": asked.context_data["ids"], "all": "status=failed", "confirmed": "1", "background": "1"}
    refused = client.post(f"{JOBS}actions/retry/", form)
    assert (refused.status_code, "smaller steps" in Page(refused).text) == (400, True)
    assert not Job.objects.filter(task_name=tasks.BULK).exists()


def test_a_scope_that_needs_more_than_the_user_is_refused(any_database: str, settings: Any) -> None:
    set_scope(settings, by_header)
    settings.TASKS["default"]["OPTIONS"]["DATABASE"] = any_database
    request = request_of(User.objects.create_superuser("root"))
    assert tasks.can_bulk(request)
    request.META["HTTP_X_TENANT"] = "one"
    del request.__dict__["headers"]
    assert not tasks.can_bulk(request)
    with pytest.raises(ValueError, match="smaller steps"):
        tasks.enqueue_bulk(request, "retry", FAILED)


@pytest.mark.django_db
def test_it_does_nothing_to_what_its_asker_may_not_see(settings: Any) -> None:
    set_scope(settings, by_queue)
    ours, theirs = make_failed(queue_name="asker"), make_failed(queue_name="them")
    job = ended(asked(person("retry_job")))
    assert job.return_value["done"] == 1
    assert [Job.objects.get(pk=each.pk).status for each in (ours, theirs)] == ["READY", "FAILED"]


# The REST API


def post(client: Client, path: str, **body: Any) -> Any:
    cache.clear()
    return client.post(f"{API_JOBS}{path}", json.dumps(body), content_type="application/json")


@pytest.mark.django_db
def test_the_api_answers_with_the_job(settings: Any) -> None:
    client = Client()
    client.force_login(person("view_job", "retry_job", "change_job"))
    for _ in range(3):
        make_failed(queue_name="a")
    body = {"filter": {"status": "FAILED", "queue": "a"}, "background": True}
    assert post(client, "bulk/retry/", **body, dry_run=True).json()["matched"] == 3
    assert not Job.objects.filter(task_name=tasks.BULK).exists()
    response = post(client, "bulk/retry/", **body, reason="x")
    assert response.status_code == 202
    job = Job.objects.get(task_name=tasks.BULK)
    assert response.json() == {"id": str(job.pk), "task": tasks.BULK, "url": response["Location"]}
    ended(job)
    shown = client.get(response["Location"]).json()
    assert (shown["status"], shown["progress"]["share"]) == ("SUCCESSFUL", 1.0)
    assert Job.objects.filter(queue_name="a", status="READY").count() == 3
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    moved = post(client, "bulk/reschedule/", filter={"queue": "a"}, at=at, background=True)
    ended(Job.objects.get(id=moved.json()["id"]))
    assert Job.objects.filter(queue_name="a", status="SCHEDULED").count() == 3


@pytest.mark.django_db
def test_the_api_refuses_what_it_refuses_at_once(settings: Any) -> None:
    client = Client()
    client.force_login(person("view_job", "retry_job"))
    for body in (
        {"filter": {}},
        {"filter": {"status": "NONE"}},
        {"filter": {"tag": "x"}},
        {"filter": {"status": "FAILED"}, "at": "never"},
    ):
        assert post(client, "bulk/retry/", **body, background=True).status_code == 400
    wanted = {"filter": {"status": "FAILED"}, "background": True}
    assert post(client, "bulk/retry/", **{**wanted, "background": "yes"}).status_code == 400
    assert post(client, "bulk/cancel/", **wanted).status_code == 403
    set_scope(settings, by_host)
    refused = post(client, "bulk/retry/", **wanted)
    assert (refused.status_code, list(refused.json())) == (400, ["non_field_errors"])
    assert not Job.objects.exists()


# Settings


@pytest.mark.django_db
def test_it_goes_to_a_queue_that_there_is(settings: Any) -> None:
    settings.TASKS = {"default": settings.TASKS["default"] | {"QUEUES": ["reports", "mail"]}}
    make_failed()
    job = asked(User.objects.create_superuser("root"))
    assert job.queue_name == "mail"
    assert ended(job).return_value["done"] == 1


@pytest.mark.django_db
def test_a_route_may_change_its_queue(settings: Any) -> None:
    routes = {"ROUTES": {tasks.BULK: {"queue_name": "operators"}}}
    default = settings.TASKS["default"]
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | routes}}
    assert asked(User.objects.create_superuser("root")).queue_name == "operators"


@pytest.mark.django_db
def test_without_a_backend_of_ours_there_is_nothing_to_offer(settings: Any) -> None:
    user = User.objects.create_superuser("root")
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.DummyBackend"}}
    assert not tasks.can_bulk(request_of(user))
    with pytest.raises(ValueError, match="no backend"):
        tasks.enqueue_bulk(request_of(user), "retry", FAILED)


# A live worker


def test_a_worker_that_is_killed_meanwhile_harms_nothing(project: Project) -> None:
    apps = ["admin", "auth", "contenttypes", "messages", "sessions"]
    project.env["EXTRA_APPS"] = json.dumps([f"django.contrib.{app}" for app in apps])
    options(project, lease=2, capture_logs=0)
    count = 6_000
    now = timezone.now()
    Job.objects.bulk_create(
        Job(
            task_name="nobody.knows",
            queue_name="default",
            backend="default",
            arguments="[[],{}]",
            status="FAILED",
            fence=1,
            attempts=1,
            enqueued_at=now,
            finished_at=now,
        )
        for _ in range(count)
    )
    job = asked(person("retry_job"))

    def slices() -> int:
        text = Job.objects.values_list("metadata", flat=True).get(pk=job.pk)
        return json.loads(text)["bulk"]["done"] if text else 0

    with project.worker("--processes", "1") as worker:
        done = project.wait_for(slices)
        worker.kill()
    job.refresh_from_db()
    with project.worker("--processes", "1"):
        result = finished(project, task_result(job))
    assert result.return_value == {"done": count, "requested": 0, "skipped": {}}
    assert done <= count
    assert Job.objects.filter(task_name="nobody.knows", status="READY", attempts=0).count() == count
    assert LogEntry.objects.get().change_message == f"Retry: {count} done."
