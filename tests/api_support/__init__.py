"""Rows, users and addresses for the tests of the REST API."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver
from django.utils import timezone

from django_tasks_q.api import urls
from django_tasks_q.models import Attempt, Job, Schedule, Worker

API = "/api/tasks/v1/"
JOBS = f"{API}jobs/"


def make_job(**fields: Any) -> Job:
    defaults = {
        "task_name": "shop.ship",
        "queue_name": "default",
        "backend": "default",
        "arguments": "[[],{}]",
        "enqueued_at": timezone.now(),
    }
    return Job.objects.create(**defaults | fields)


def make_attempt(job: Job, **fields: Any) -> Attempt:
    defaults = {"number": 1, "fence": 1, "outcome": "failed", "finished_at": timezone.now()}
    attempt = Attempt.objects.create(job=job, **defaults | fields)
    Job.objects.filter(id=job.id).update(fence=attempt.fence)
    return attempt


def make_worker(**fields: Any) -> Worker:
    now = timezone.now()
    defaults = {
        "name": "host-1",
        "hostname": "host",
        "pid": 1,
        "backend": "default",
        "processes": 2,
        "version": "0",
        "started_at": now,
        "heartbeat_at": now,
        "lease_expires_at": now + timedelta(minutes=1),
    }
    return Worker.objects.create(**defaults | fields)


def make_schedule(**fields: Any) -> Schedule:
    defaults = {
        "backend": "default",
        "name": "nightly",
        "origin": "database",
        "task_name": "tests.tasksapp.tasks.noop",
        "expression": "0 3 * * *",
        "next_at": timezone.now() + timedelta(hours=1),
    }
    return Schedule.objects.create(**defaults | fields)


def make_user(*codenames: str, name: str = "user", **flags: bool) -> User:
    user = User.objects.create_user(name, **flags)
    for codename in codenames:
        model = {"worker": "worker", "queue": "queue", "schedule": "schedule"}.get(
            codename.rpartition("_")[2], "job"
        )
        kind = ContentType.objects.get_for_model(Job) if model == "job" else None
        kind = kind or ContentType.objects.get(app_label="django_tasks_q", model=model)
        permission, _ = Permission.objects.get_or_create(codename=codename, content_type=kind)
        user.user_permissions.add(permission)
    return user


def client_of(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def login(*codenames: str, name: str = "user", **flags: bool) -> Client:
    return client_of(make_user(*codenames, name=name, **flags))


def patterns(found: list[Any] | None = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every route of the API, with its address in the form of the URLconf."""
    for pattern in urls.urlpatterns if found is None else found:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern.url_patterns, route)
        else:
            yield route, pattern
