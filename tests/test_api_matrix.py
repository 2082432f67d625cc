"""Every route by every method for everybody: what is not said to be open is closed."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from rest_framework.views import APIView

from django_tasks_q import actions
from django_tasks_q.admin import verbs as admin_verbs
from django_tasks_q.api.base import TasksView
from django_tasks_q.models import Job, Queue, Schedule, Worker

from .api_support import API, client_of, login, make_job, make_schedule, make_user, make_worker, patterns

pytestmark = pytest.mark.django_db

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
VIEW = ("view_job",)

#: By the name of the route: its method, the permissions that it needs, and the status with them.
RULES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "job-list": ("get", VIEW, 200),
    "job-detail": ("get", VIEW, 200),
    "job-attempts": ("get", VIEW, 200),
    "job-logs": ("get", (*VIEW, "view_payload_job"), 200),
    "job-progress": ("get", VIEW, 200),
    "job-events": ("get", VIEW, 200),
    "job-retry": ("post", (*VIEW, "retry_job"), 409),
    "job-cancel": ("post", (*VIEW, "cancel_job"), 200),
    "job-discard": ("post", (*VIEW, "discard_job"), 200),
    "job-reschedule": ("post", (*VIEW, "change_job"), 400),
    "job-run-now": ("post", (*VIEW, "change_job"), 200),
    "job-change": ("post", (*VIEW, "change_job"), 400),
    "job-dismiss": ("post", (*VIEW, "discard_job"), 409),
    "job-pin": ("post", (*VIEW, "change_job"), 200),
    "job-unpin": ("post", (*VIEW, "change_job"), 200),
    "job-delete": ("post", (*VIEW, "delete_job"), 409),
    "job-run-again": ("post", (*VIEW, "add_job"), 202),
    "bulk-retry": ("post", (*VIEW, "retry_job"), 400),
    "bulk-cancel": ("post", (*VIEW, "cancel_job"), 400),
    "bulk-discard": ("post", (*VIEW, "discard_job"), 400),
    "bulk-reschedule": ("post", (*VIEW, "change_job"), 400),
    "bulk-run-now": ("post", (*VIEW, "change_job"), 400),
    "bulk-change": ("post", (*VIEW, "change_job"), 400),
    "bulk-dismiss": ("post", (*VIEW, "discard_job"), 400),
    "bulk-pin": ("post", (*VIEW, "change_job"), 400),
    "bulk-unpin": ("post", (*VIEW, "change_job"), 400),
    "bulk-delete": ("post", (*VIEW, "delete_job"), 400),
    "queue-list": ("get", ("view_queue",), 200),
    "queue-detail": ("get", ("view_queue",), 200),
    "queue-pause": ("post", ("view_queue", "pause_queue"), 200),
    "queue-resume": ("post", ("view_queue", "pause_queue"), 200),
    "queue-limit": ("post", ("view_queue", "change_queue"), 400),
    "schedule-list": ("get", ("view_schedule",), 200),
    "schedule-detail": ("get", ("view_schedule",), 200),
    "schedule-save": ("post", ("view_schedule", "add_schedule", "change_schedule"), 400),
    "schedule-delete": ("post", ("view_schedule", "delete_schedule"), 204),
    "schedule-enable": ("post", ("view_schedule", "enable_schedule"), 200),
    "schedule-disable": ("post", ("view_schedule", "enable_schedule"), 200),
    "schedule-run": ("post", ("view_schedule", "run_schedule"), 200),
    "schedule-skip": ("post", ("view_schedule", "run_schedule"), 200),
    "worker-list": ("get", ("view_worker",), 200),
    "worker-detail": ("get", ("view_worker",), 200),
    "worker-stop": ("post", ("view_worker", "stop_worker"), 200),
    "task-list": ("get", VIEW, 200),
    "task-detail": ("get", VIEW, 200),
    "task-enqueue": ("post", ("add_job",), 404),
    "stats": ("get", VIEW, 200),
    "health": ("get", ("view_worker",), 200),
    "schema": ("get", VIEW, 200),
}
ALL = sorted({codename for _, codenames, _ in RULES.values() for codename in codenames})
ROUTES = [(str(pattern.name), pattern) for _, pattern in patterns()]


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def address(name: str) -> str:
    """The address of a route, for rows that exist."""
    arguments: dict[str, Any] = {}
    if name.startswith("job-") and name != "job-list":
        arguments["pk"] = make_job(task_name="tests.tasksapp.tasks.noop").id
    elif name in ("worker-detail", "worker-stop"):
        arguments["pk"] = make_worker().id
    elif name == "health":
        make_worker()
    elif name.startswith("queue-") and name != "queue-list":
        arguments["name"] = "default"
    elif name.startswith("schedule-") and name != "schedule-list":
        arguments["name"] = make_schedule().name
    elif name.startswith("task-") and name != "task-list":
        arguments["name"] = "tests.tasksapp.tasks.noop"
    return reverse(f"django_tasks_q:{name}", kwargs=arguments)


def rows() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Job, Queue, Schedule, Worker)]


def ask(client: Client, method: str, url: str) -> Any:
    cache.clear()
    return getattr(client, method)(url, content_type="application/json")


def test_every_route_has_a_rule() -> None:
    assert {name for name, _ in ROUTES} == set(RULES)


@pytest.mark.parametrize("name", actions.NAMED)
def test_a_verb_needs_the_same_permission_at_every_door(name: str) -> None:
    slug = name.replace("_", "-")
    assert RULES[f"job-{slug}"][1] == RULES[f"bulk-{slug}"][1] == (*VIEW, admin_verbs.VERBS[name].codename)


def test_every_view_says_for_itself_what_project_defaults_must_not() -> None:
    for _name, pattern in ROUTES:
        view: type[APIView] = pattern.callback.cls  # type: ignore[union-attr]
        ours = [base for base in view.__mro__ if base.__module__.startswith("django_tasks_q.")]
        said = {each for base in ours for each in vars(base)}
        assert issubclass(view, TasksView)
        assert said >= {"permission_classes", "throttle_classes", "filter_backends", "pagination_class"}
        assert said >= {"versioning_class", "parser_classes", "schema"}
        assert said >= {"renderer_classes", "content_negotiation_class"}
        assert "authentication_classes" not in said
        assert all(each.__module__.startswith("django_tasks_q.") for each in view.permission_classes)
        assert all(each.__module__.startswith("django_tasks_q.") for each in view.throttle_classes)


@pytest.mark.parametrize("name", RULES)
def test_without_permission_all_is_refused(name: str) -> None:
    needed = RULES[name][1]
    url, before = address(name), rows()
    nobodies = {
        "anonymous": Client(),
        "user": login(name="plain"),
        "staff": login(name="staff", is_staff=True),
        "inactive": client_of(make_user(*needed, name="gone")),
        "others": login(*(set(ALL) - {needed[-1]}), name="others", is_staff=True),
    }
    from django.contrib.auth.models import User

    User.objects.filter(username="gone").update(is_active=False)
    for who, client in nobodies.items():
        for method in METHODS:
            status = ask(client, method, url).status_code
            # Each task has a rule for who may enqueue it. A user who may enqueue none gets 403 for all.
            is_own_rule = name == "task-enqueue" and who not in ("anonymous", "inactive") and method != "post"
            expected = (200, 405) if is_own_rule else (401, 403)
            assert status in expected, (who, method, status)
    assert rows() == before


@pytest.mark.parametrize("name", RULES)
def test_those_with_permission_use_one_method_and_no_other(name: str) -> None:
    method, needed, status = RULES[name]
    url = address(name)
    client = login(*needed)
    before = rows()
    for each in METHODS:
        if each == method:
            continue
        expected = 200 if each == "options" or (each == "head" and method == "get") else 405
        assert ask(client, each, url).status_code == expected, each
    assert rows() == before
    response = ask(client, method, url)
    assert response.status_code == status
    if method == "get":
        assert rows() == before
    assert response.headers["Cache-Control"] == "private, no-store"
    if response.status_code >= 400 and response.status_code != 400:
        assert set(response.json()) >= {"detail", "code"}


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule[0] == "post"])
def test_csrf_is_asked_for_with_a_session(name: str) -> None:
    url = address(name)
    before = rows()
    client = client_of(make_user(*ALL), enforce_csrf_checks=True)
    response = ask(client, "post", url)
    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]
    assert rows() == before


@pytest.mark.parametrize("name", RULES)
def test_unknown_parameters_and_too_large_bodies_are_refused(name: str) -> None:
    method, needed, _ = RULES[name]
    client = login(*needed)
    url = address(name)
    response = ask(client, method, f"{url}?unheard_of=1")
    assert (response.status_code, list(response.json())) == (400, ["unheard_of"])
    if method == "post":
        large = client.post(url, b'{"a":"' + b"x" * 2_000_000 + b'"}', content_type="application/json")
        assert (large.status_code, large.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("name", [name for name in RULES if name != "schema"])
def test_pages_for_browsers_have_no_holes(name: str) -> None:
    hostile = "<script>alert(1)</script>\"'><svg onload=alert(1)>{{7*7}}"
    client = login(*ALL)
    make_worker(name=hostile, hostname=hostile, queues='["{7*7}"]')
    Queue.objects.create(backend="default", name=hostile, paused_by=hostile, pause_reason=hostile)
    make_schedule(name=hostile, task_name=hostile, expression=hostile, disabled_by=hostile)
    make_job(task_name=hostile, queue_name=hostile, tags='["<svg onload=alert(1)>"]')
    url = address(name)
    response = client.get(url, headers={"accept": "text/html"})
    assert response.status_code in (200, 405, 406)
    text = response.getvalue().decode()
    assert "<script>alert(1)" not in text
    assert "<svg" not in text
    if RULES[name][0] == "post":
        assert "<form" in text  # for the body


@pytest.mark.parametrize("id", ["x", "0", "{{7*7}}", "%00", "%F0%9F%92%A9", "a" * 3000, "'; DROP TABLE x"])
@pytest.mark.parametrize("name", [name for name in RULES if "-" in name and name != "schema"])
def test_malformed_names_and_ids_are_not_found(name: str, id: str) -> None:
    method, needed, _ = RULES[name]
    route = next(route for route, pattern in patterns() if route.startswith("v1/") and pattern.name == name)
    if "<" not in route:
        return
    start, end = route.index("<"), route.index(">") + 1
    response = ask(login(*needed), method, f"/api/tasks/{route[:start]}{id}{route[end:]}")
    assert response.status_code == 404 or (
        response.status_code == 400 and {"at", "non_field_errors", "task"} & response.json().keys()
    )
    if response.status_code == 404:
        assert response.json()["code"] == "not_found"
    assert API.endswith("v1/")
