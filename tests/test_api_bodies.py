"""Bodies that do not say how long they are, which servers hand on in ways of their own."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.core.cache import cache
from django.core.handlers.asgi import ASGIRequest
from django.test import Client
from django.urls import resolve
from django.utils import timezone
from rest_framework.test import force_authenticate

from django_tasks_q import task
from django_tasks_q.api.parsers import largest_body
from django_tasks_q.models import Job, Schedule

from .api_support import API, JOBS, client_of, make_job, make_user, patterns
from .test_api_matrix import ALL, RULES, address

pytestmark = pytest.mark.django_db
ADD = "bodies.add"
LATER = "2100-01-01T00:00:00Z"


@task(name=ADD, api=True)
def add(a: int = 0) -> None:
    pass


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def wsgi(client: Client, url: str, body: bytes, **environ: Any) -> Any:
    """As a server hands a chunked body on: without a length, and with an end."""
    given = {
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": BytesIO(body),
        "wsgi.input_terminated": True,
        "content_type": "application/json",
    }
    # The data are there for the content type only.
    return client.post(url, body or b" ", **given | environ)


def asgi(user: Any, url: str, body: bytes, *headers: tuple[bytes, bytes]) -> Any:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": url,
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"content-type", b"application/json"), *headers],
    }
    request = ASGIRequest(scope, BytesIO(body))
    force_authenticate(request, user)
    match = resolve(url)
    request.resolver_match = match
    return match.func(request, *match.args, **match.kwargs)


CHUNKED = (b"transfer-encoding", b"chunked")


def test_a_chunked_body_says_what_any_other_says() -> None:
    user = make_user(*ALL)
    client = client_of(user)
    retry = json.dumps({"at": LATER}).encode()
    for send in (
        lambda url, body: wsgi(client, url, body),
        lambda url, body: asgi(user, url, body, CHUNKED),
        lambda url, body: asgi(user, url, body),  # as over HTTP/2
        lambda url, body: wsgi(client, url, body, HTTP_TRANSFER_ENCODING=""),
    ):
        job = make_job(status="FAILED", finished_at=timezone.now())
        assert send(f"{JOBS}{job.id}/retry/", retry).status_code == 200
        job.refresh_from_db()
        assert (job.status, job.run_after.year if job.run_after else None) == ("SCHEDULED", 2100)
        assert send(f"{API}tasks/{ADD}/enqueue/", b'{"a": 5}').status_code == 202
        assert Job.objects.get(task_name=ADD).kwargs == {"a": 5}
        assert send(f"{API}tasks/{ADD}/enqueue/", b'{"a": ').status_code == 400
        assert send(f"{API}tasks/{ADD}/enqueue/", b'{"b": 5}').status_code == 400
        assert send(f"{API}tasks/{ADD}/enqueue/", b" " * (largest_body() + 1)).status_code == 413
        # None at all is still none.
        assert send(f"{API}tasks/{ADD}/enqueue/", b"").status_code == 202
        Job.objects.all().delete()


def test_what_cannot_be_read_is_never_taken_for_nothing() -> None:
    client = client_of(make_user(*ALL))
    job = make_job(status="FAILED", finished_at=timezone.now())
    url, body = f"{JOBS}{job.id}/retry/", json.dumps({"at": LATER}).encode()
    for environ, status in (
        ({"wsgi.input_terminated": False}, 411),
        ({"CONTENT_LENGTH": "many", "HTTP_TRANSFER_ENCODING": ""}, 400),
        ({"CONTENT_LENGTH": "-5", "HTTP_TRANSFER_ENCODING": ""}, 400),
        ({"CONTENT_LENGTH": str(len(body))}, 400),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "multipart/form-data; boundary=x"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": ""}, 415),
        ({"wsgi.input": BytesIO(b"\x1f\x8b\x08" + body), "HTTP_CONTENT_ENCODING": "gzip"}, 400),
    ):
        response = wsgi(client, url, body, **environ)
        assert response.status_code == status, environ
        assert response.json()["code"]
    job.refresh_from_db()
    assert job.status == "FAILED"


#: What a body has to have.
NEEDED: dict[str, dict[str, Any]] = {
    "reschedule": {"at": LATER},
    "change": {"priority": 1},
    "queue-limit": {"max_running": 1},
    "schedule-save": {"task": ADD, "every": 60},
}


@pytest.mark.parametrize("name", [str(name) for name, rule in RULES.items() if rule[0] == "post"])
def test_every_body_refuses_fields_that_it_does_not_know(name: str) -> None:
    client = client_of(make_user(*ALL, is_superuser=True))
    url = address(name).replace("tests.tasksapp.tasks.noop", ADD) if name == "task-enqueue" else address(name)
    before = list(Job.objects.order_by("id").values())
    needed = NEEDED.get(name.removeprefix("bulk-").removeprefix("job-"), {})
    bodies: list[dict[str, Any]] = [{"surprise": 1, **needed}, {"surprise": None, **needed}]
    if name.startswith("bulk-"):
        bodies = [{"filter": {"queue": "x"}, **body} for body in bodies]
        bodies.append({"filter": {"queue": "x", "surprise": 1}, **needed})
    for body in bodies:
        cache.clear()
        response = client.post(url, json.dumps(body), content_type="application/json")
        assert response.status_code == 400
        assert "surprise" in response.content.decode()
    assert list(Job.objects.order_by("id").values()) == before


@pytest.mark.parametrize("name", [str(name) for name, rule in RULES.items() if rule[0] == "post"])
def test_no_body_has_a_field_whose_name_is_half_a_character(name: str) -> None:
    client = client_of(make_user(*ALL, is_superuser=True))
    url = address(name).replace("tests.tasksapp.tasks.noop", ADD) if name == "task-enqueue" else address(name)
    before = list(Job.objects.order_by("id").values())
    needed = NEEDED.get(name.removeprefix("bulk-").removeprefix("job-"), {})
    half = {"\ud800": 1}
    bodies: list[dict[str, Any]] = [{**half, **needed}]
    if name.startswith("bulk-"):
        bodies = [{"filter": {"queue": "x"}, **half, **needed}, {"filter": {"queue": "x", **half}, **needed}]
    if name == "schedule-save":
        bodies.append({**needed, "arguments": half})
    for body in bodies:
        cache.clear()
        response = client.post(url, json.dumps(body), content_type="application/json")
        assert (response.status_code, response.json()["code"]) == (400, "parse_error")
        assert "\\ud800" in response.json()["detail"]
    # Two halves that belong together are one character.
    body = json.dumps(bodies[0]).replace(r"\ud800", r"\ud83d\ude00")
    response = client.post(url, body, content_type="application/json")
    assert response.status_code == 400
    assert "\U0001f600" in response.json()
    assert list(Job.objects.order_by("id").values()) == before


def test_every_route_refuses_parameters_that_it_does_not_know() -> None:
    client = client_of(make_user(*ALL, is_superuser=True))
    for name in {str(pattern.name) for _, pattern in patterns()}:
        cache.clear()
        response = getattr(client, RULES[name][0])(f"{address(name)}?surprise=1")
        assert (response.status_code, list(response.json())) == (400, ["surprise"]), name
        Schedule.objects.all().delete()
