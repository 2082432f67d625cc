"""Rows and users for the tests of the admin."""

from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from django_tasks_q.models import Attempt, Job, LogLine, Progress, Queue, Statistic, Worker

BASE = "/admin/django_tasks_q/"
JOBS = f"{BASE}job/"
DASHBOARD = f"{JOBS}dashboard/"
FAILED = f"{JOBS}failed/"
TASKS = f"{JOBS}tasks/"
QUEUES = f"{BASE}queue/"
WORKERS = f"{BASE}worker/"
SCREENS = (DASHBOARD, JOBS, FAILED, TASKS, QUEUES, WORKERS)
#: The name of an action's button on the page of an object, since Django 6.1.
ACTION = "CHANGE_FORM-action"
HOSTILE = "<script>alert(1)</script>\"'><svg onload=alert(1)>{{7*7}}"


def make_job(**fields: Any) -> Job:
    defaults = {
        "task_name": "shop.ship",
        "queue_name": "default",
        "backend": "default",
        "arguments": "[[],{}]",
        "enqueued_at": timezone.now(),
    }
    return Job.objects.create(**defaults | fields)


def make_failed(**fields: Any) -> Job:
    job = make_job(**{"status": "FAILED", "fence": 1, "attempts": 1, "finished_at": timezone.now()} | fields)
    make_attempt(job, exception_class="builtins.ValueError", message="no", traceback="Traceback")
    return job


def make_attempt(job: Job, **fields: Any) -> Attempt:
    defaults = {"number": 1, "fence": 1, "outcome": "failed", "finished_at": timezone.now()}
    return Attempt.objects.create(job=job, **defaults | fields)


def make_worker(**fields: Any) -> Worker:
    now = timezone.now()
    defaults = {
        "name": "web-1",
        "hostname": "web-1.example",
        "pid": 1,
        "backend": "default",
        "processes": 2,
        "version": "1",
        "started_at": now,
        "heartbeat_at": now,
        "lease_expires_at": now + timedelta(minutes=1),
    }
    return Worker.objects.create(**defaults | fields)


def make_everything(text: str) -> tuple[Job, Worker]:
    """Create a job with its related rows, and rows of other models, with the text in every column."""
    import json

    as_json = json.dumps([text])
    job = make_failed(
        task_name=text,
        queue_name=text,
        backend=text,
        error_code=text,
        arguments=json.dumps([[text], {text: text}]),
        result=json.dumps(text),
        tags=as_json,
        metadata=json.dumps({text: text}),
        cancel_reason=text,
        cancel_requested_at=timezone.now(),
    )
    make_attempt(
        job,
        fence=2,
        outcome="<i>{{7*7}}",
        error_code=text,
        exception_class=text,
        message=text,
        traceback=text,
        data=as_json,
    )
    Progress.objects.create(job=job, fence=2, current=1, total=2, message=text, updated_at=timezone.now())
    LogLine.objects.create(job=job, fence=2, level=20, logger=text, message=text, created_at=timezone.now())
    for status in ("READY", "RUNNING", "SCHEDULED"):
        make_job(
            task_name=text,
            queue_name=text,
            status=status,
            parent_id=job.pk,
            run_after=timezone.now(),
            arguments=json.dumps([[text], {}]),
        )
    Queue.objects.create(
        backend="default", name=text, paused_at=timezone.now(), paused_by=text, pause_reason=text
    )
    moment = timezone.now().replace(second=0, microsecond=0)
    Statistic.objects.create(
        backend="default", moment=moment, queue_name=text, task_name=text, failed=3, took_3=3
    )
    worker = make_worker(name=text, hostname=text, backend=text, queues=as_json, version="<i>{{7*7}}")
    make_worker(name=text, hostname=text, backend=text, exclude_queues=as_json, version="2")
    return job, worker


def page(row: Job | Worker) -> str:
    return f"{BASE}{row._meta.model_name}/{row.pk}/change/"


def staff(*codenames: str, name: str = "staff") -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_tasks_q", codename__in=codenames)
    )
    client = Client()
    client.force_login(user)
    return client


class Page(HTMLParser):
    """The scripts, styles, buttons and text of a response."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.text = self.code = ""
        self.inline: list[str] = []
        self.tags: list[str] = []
        self.buttons: list[str] = []
        self.feed(response.content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inline += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag == "button":
            found = {name: value or "" for name, value in attrs}
            # With Django's action locations a button has the name of its action as value.
            chosen = f"/actions/{found['value']}/" if found.get("name") == ACTION else ""
            self.buttons.append(found.get("formaction") or chosen)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("script", "style"):
            self.code += data.strip()
        else:
            self.text += data
