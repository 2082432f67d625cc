"""Who may do what: every route by every method for every kind of user, with all that is stored for later.

Nothing is written down route by route: routes come from the URLconfs, users from the list of permissions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from django_tasks_q import task, tasks
from django_tasks_q.access import request_of
from django_tasks_q.actions import NAMED, Selection, cancel
from django_tasks_q.api import urls as api_urls
from django_tasks_q.api.filters import FILTERS
from django_tasks_q.models import Firing, IdempotencyKey, Job, Queue, Schedule, Worker
from django_tasks_q.testing import run_jobs

from ..api_support import client_of, make_job, make_schedule, make_worker

pytestmark = pytest.mark.django_db

API, ADMIN = "/api/tasks/", "/admin/"
OURS = re.compile(r"django_tasks_q")
#: Tables that nobody writes without a permission for it, and by which words a permission is about each.
TABLES: dict[Any, tuple[str, ...]] = {
    Job: ("job", "run_schedule", "add_job", "discard_job"),
    Queue: ("queue",),
    Schedule: ("schedule",),
    Worker: ("worker",),
}
#: What is in everything that belongs to somebody else.
THEIRS = "not-for-you"


@task(name="rights.open", api=True, admin=True)
def open_task(a: int = 0) -> None:
    pass


def of_tenant(request: Any, jobs: Any) -> Any:
    """Superusers and staff see all; a tenant sees their own queue."""
    user = request.user
    return jobs.filter(queue_name="tenant") if user.username == "tenant" else jobs


@dataclass
class World:
    """Rows of every kind: ours, those of others, and requests of others that are stored."""

    job: Job = field(init=False)
    theirs: Job = field(init=False)
    request: Job = field(init=False)
    schedule: Schedule = field(init=False)
    worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        root = User.objects.create_superuser("root")
        self.job = make_job(queue_name="tenant", task_name="rights.open", status="FAILED")
        make_job(queue_name="tenant", task_name="rights.open", status="READY")
        self.theirs = make_job(queue_name="others", task_name=THEIRS, status="FAILED")
        make_job(queue_name="others", task_name=THEIRS, status="READY")
        made = tasks.enqueue_bulk(request_of(root), "delete", Selection(task=THEIRS))
        cancel(made.id)
        self.request = Job.objects.get(id=made.id)
        self.schedule = make_schedule(kind="cron", task_name="rights.open")
        Firing.objects.create(
            schedule=self.schedule,
            tick=timezone.now(),
            outcome="fired",
            job_id=self.job.id,
            fired_at=timezone.now(),
        )
        self.worker = make_worker()
        Queue.objects.create(backend="default", name="tenant")

    def address(self, route: str, job: Job) -> str:
        """A route of an URLconf with rows in the places of its parameters."""
        values = {
            "pk": str(self.worker.id if "workers/" in route else job.id),
            "id": str(self.schedule.pk if "schedule/" in route else job.id),
            "object_id": str(
                self.schedule.pk
                if "/schedule/" in route
                else self.worker.id
                if "/worker/" in route
                else job.id
            ),
        }
        name = "nightly" if "schedules/" in route else "tenant" if "queues/" in route else "rights.open"

        def value(match: re.Match[str]) -> str:
            parameter = match[1].rpartition(":")[2]
            if parameter == "name" and match[1].startswith("slug"):
                return "retry" if "job/" in route else "pause" if "queue/" in route else "stop"
            return values.get(parameter, name)

        return re.sub(r"<([^>]+)>", value, route).replace("^", "").replace("$", "").replace("\\Z", "")


def rows(*leave_out: Any) -> dict[Any, Any]:
    return {model: list(model.objects.order_by("pk").values()) for model in TABLES if model not in leave_out}


def walk(patterns: Any, prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def routes() -> list[str]:
    """All of the API and of our screens, bulk verbs and single ones by their names."""
    found = [*walk(api_urls.urlpatterns, API)]
    found += [route for route in walk(admin.site.urls[0], ADMIN) if OURS.search(route)]
    for verb in NAMED:
        found.append(f"{ADMIN}django_tasks_q/job/actions/{verb}/")
    for verb in ("enable", "disable", "run", "skip", "delete"):
        found.append(f"{ADMIN}django_tasks_q/schedule/actions/{verb}/")
    for verb in ("pause", "resume", "limit", "clear"):
        found.append(f"{ADMIN}django_tasks_q/queue/actions/{verb}/")
    # The first addresses of the API are the same views once more.
    return sorted(
        {
            route
            for route in found
            if not route.startswith(f"{API}jobs/")
            and "<path:object_id>/$" not in route
            and "<url>" not in route
        }
    )


#: What answers anything at all, if it is understood.
BODY: dict[str, Any] = {"reason": ""}
LATER = "2100-01-01T00:00:00Z"
NEEDED = {
    "reschedule": {"at": LATER},
    "change": {"priority": 7},
    "limit": {"max_running": 5},
    "save": {"task": "rights.open", "every": 60},
    "enqueue": {},
}
FORM = {
    "confirmed": "1",
    "reason": "",
    "moment": "2099-01-01T00:00",
    "priority": "7",
    "max_running": "5",
    "backend": "default",
    "queue": "tenant",
    "typed": "tenant",
}


def ask(client: Client, method: str, url: str, world: World, job: Job) -> Any:
    cache.clear()
    if url.startswith(ADMIN):
        about = (
            str(world.schedule.pk)
            if "/schedule/" in url
            else str(world.worker.id)
            if "/worker/" in url
            else ""
        )
        return getattr(client, method)(url, {**FORM, "ids": str(job.id), "id": about, "worker": about})
    verb = url.rstrip("/").rpartition("/")[2]
    body = {**({} if verb == "enqueue" else BODY), **NEEDED.get(verb, {})}
    if "/bulk/" in url:
        body["filter"] = {"task": job.task_name}
    if method == "get":
        return client.get(url)
    return getattr(client, method)(url, json.dumps(body), content_type="application/json")


def permissions() -> list[str]:
    found = Permission.objects.filter(content_type__app_label="django_tasks_q")
    return sorted(found.values_list("codename", flat=True))


def person(name: str, *codenames: str, **flags: Any) -> User:
    user = User.objects.create_user(name, **flags)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_tasks_q", codename__in=codenames)
    )
    return user


@pytest.fixture
def world(settings: Any) -> World:
    default = settings.TASKS["default"]
    options = {"SCOPE_JOBS": "tests.variety.test_rights.of_tenant"}
    settings.TASKS = {"default": default | {"OPTIONS": default["OPTIONS"] | options}}
    return World()


def test_no_permission_is_worth_more_than_what_it_is_for(world: World) -> None:
    """What one permission opened alone, all of its sort would open: they only ever add up."""
    known = permissions()
    views = [code for code in known if code.startswith("view_")]
    people: dict[str, Any] = {
        "anonymous": None,
        "plain": person("plain"),
        # Nobody acts on what they may not see.
        "doer": person("doer", *(set(known) - set(views)), is_staff=True),
        "viewer": person("viewer", *views, is_staff=True),
    }
    found = routes()
    assert len(found) > 100
    before = rows()
    wrong: list[str] = []
    for name, user in people.items():
        client = Client() if user is None else client_of(user)
        for route in found:
            url = world.address(route, world.job)
            if name == "doer" and url.endswith("/enqueue/"):
                continue  # add_job enqueues there, and tells of nothing
            for method in ("get", "post"):
                response = ask(client, method, url, world, world.job)
                is_open = response.status_code < 300
                if response.status_code >= 500 and "health" not in url:  # nobody renews the lease
                    wrong.append(f"{name} {method} {url}: {response.status_code}")
                # A page that is posted to is shown, and nothing else.
                if (
                    is_open
                    and not (name == "viewer" and (method == "get" or url.startswith(ADMIN)))
                    and not _is_nothing(response, url)
                ):
                    wrong.append(f"{name} {method} {url}: {response.status_code}")
        if rows() != before:
            wrong.append(
                f"{name} has changed {[model.__name__ for model in TABLES if rows()[model] != before[model]]}"
            )
            before = rows()
    assert wrong == []


def _is_nothing(response: Any, url: str) -> bool:
    """Whether an answer is a page that is everybody's, such as the form to log in."""
    return url.startswith(ADMIN) and "log in" in response.content.decode().lower()


def test_a_tenant_with_all_permissions_finds_nothing_of_others(world: World) -> None:
    """What is hidden is neither shown nor changed, whatever its address, body or filter says of it."""
    client = client_of(person("tenant", *permissions(), is_staff=True))
    hidden = Job.objects.exclude(queue_name="tenant").order_by("pk")
    before, schedules = list(hidden.values()), list(Schedule.objects.values())
    own = {"enqueue"}  # makes a job of one's own, in the queue of the task
    wrong: list[str] = []
    for route in routes():
        for job in (world.theirs, world.request):
            url = world.address(route, job)
            if url.rstrip("/").rpartition("/")[2] in own:
                continue
            for method in ("get", "post"):
                response = ask(client, method, url, world, job)
                text = b"".join(response) if response.streaming else response.content
                # What was typed in is shown again.
                if THEIRS.encode() in text and "task=" not in url:
                    wrong.append(f"{method} {url} tells of it")
                if response.status_code >= 500:
                    wrong.append(f"{method} {url}: {response.status_code}")
    assert list(hidden.filter(pk__in=[row["id"] for row in before]).values()) == before
    assert list(Schedule.objects.values()) == schedules
    for name in (*FILTERS, "x"):
        for value in (THEIRS, str(world.request.id), "FAILED", "others", "nightly", LATER):
            cache.clear()
            asked = client.get(f"{API}v1/jobs/", {name: value})
            assert asked.status_code == 400 or THEIRS not in asked.content.decode()
    assert wrong == []


def test_what_is_stored_for_later_is_done_with_no_more_than_the_rights_of_who_asks_now(world: World) -> None:
    """Each permission but the one to delete, at each route, with the stored request of somebody who may."""
    codes = [
        code
        for code in permissions()
        if code not in ("delete_job", "discard_job", "cancel_job", "change_job")
    ]
    clerk = person("clerk", *codes, is_staff=True)
    client = client_of(clerk)
    call = {"task": tasks.BULK, "arguments": world.request.kwargs}
    url, api = f"{ADMIN}django_tasks_q/", f"{API}v1/"
    form = {"name": "x", "kind": "every", "expression": "60", "timezone": "UTC", "missed": "one"}
    stored = {
        "args": "[]",
        "kwargs": json.dumps(world.request.kwargs),
        "task": tasks.BULK,
        "overlap": "allow",
    }
    for route in routes():
        address = world.address(route, world.request)
        ask(client, "post", address, world, world.request)
        if "rights.open" not in address:
            continue
        ask(client, "post", address.replace("rights.open", tasks.BULK), world, world.request)
    for body in ({}, {"arguments": world.request.kwargs}):
        cache.clear()
        client.post(
            f"{api}jobs/{world.request.id}/run-again/", json.dumps(body), content_type="application/json"
        )
        cache.clear()
        client.post(
            f"{api}schedules/x/save/", json.dumps({**call, "every": 60}), content_type="application/json"
        )
    client.post(
        f"{api}tasks/{tasks.BULK}/enqueue/", json.dumps(call["arguments"]), content_type="application/json"
    )
    client.post(f"{url}schedule/add/", {**form, **stored})
    client.post(f"{url}schedule/{world.schedule.pk}/edit/", {**form, **stored})
    client.post(f"{url}job/{world.request.id}/again/", {**stored, "reason": ""})
    client.post(
        f"{url}job/enqueue/?task={tasks.BULK}",
        {f"argument-{k}": str(v) for k, v in call["arguments"].items()},
    )
    # Nor does what somebody has written past all doors.
    for row in Schedule.objects.all():
        client.post(f"{url}schedule/actions/run/", {"id": row.pk, "confirmed": "1"})
    Schedule.objects.update(task_name=tasks.BULK, arguments=world.request.arguments)
    client.post(f"{url}schedule/actions/run/", {"id": world.schedule.pk, "confirmed": "1"})
    copied = {each.name: getattr(world.request, each.name) for each in Job._meta.fields}
    Job.objects.create(**copied | {"id": UUID(int=world.request.id.int + 1), "status": "READY"})
    run_jobs()
    assert Job.objects.filter(task_name=THEIRS).count() == 2
    assert not Job.objects.filter(task_name=tasks.BULK, status="SUCCESSFUL").exists()
    assert IdempotencyKey.objects.count() == 0


def test_a_filter_that_is_understood_narrows_what_is_done(world: World) -> None:
    """Each filter of the list, with a value that finds nothing, for each verb on many."""
    client = client_of(User.objects.get(username="root"))
    before = rows()
    nothing = {
        "status": "WAITING",
        "parent": str(world.worker.id),
        "enqueued_after": LATER,
        "enqueued_before": "2000-01-01T00:00:00Z",
    }
    for slug in ("delete", "cancel", "run-now"):
        for name in FILTERS:
            cache.clear()
            chosen = {name: nothing.get(name, "nobody-has-this")}
            if name == "tag":
                chosen["enqueued_after"] = "2000-01-01T00:00:00Z"
            body = {"filter": chosen, **NEEDED.get(slug, {})}
            answer = client.post(
                f"{API}v1/jobs/bulk/{slug}/", json.dumps(body), content_type="application/json"
            )
            assert (answer.status_code, answer.json().get("matched")) == (200, 0), (slug, name)
    assert rows() == before
