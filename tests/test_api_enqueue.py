"""Enqueueing over HTTP: what is open, what fits, and what is repeated."""

import json
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import connections
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_tasks_q import task
from django_tasks_q.access import backend
from django_tasks_q.api import parsers
from django_tasks_q.maintenance.prune import forget
from django_tasks_q.models import IdempotencyKey, Job
from django_tasks_q.payload.schema import arguments_schema, schema_of

from .api_support import API, client_of, login, make_user
from .drawing import examples

pytestmark = pytest.mark.django_db


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@task(name="api.open", api=True, tags=["a"], description="For everybody.")
def open_task(
    order: int,
    total: Decimal = Decimal(0),
    *,
    color: Color = Color.RED,
    when: datetime | None = None,
    mode: Literal["fast", "slow"] = "fast",
    sizes: list[int] = [],  # noqa: B006 - never changed
) -> None:
    pass


@task(name="api.places", api=True)
def places(first: int, /, second: int = 2, *rest: int, **more: str) -> None:
    pass


@task(name="api.closed")
def closed(order: int) -> None:
    pass


@task(name="api.context", api=True, takes_context=True)
def with_context(context: Any, **anything: Any) -> None:
    pass


@task(name="api.slash/name", api=True)
def slash() -> None:
    pass


def only_mine(request: Any, task: Any, arguments: dict[str, Any]) -> bool:
    return bool(arguments.get("owner") == request.user.username)


@task(name="api.ruled", api=only_mine)
def ruled(owner: str) -> None:
    pass


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


@pytest.fixture
def client() -> Client:
    return login("add_job", "view_job", "view_payload_job")


def post(client: Client, name: str, body: Any, **headers: str) -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(
        f"{API}tasks/{name}/enqueue/",
        data,
        content_type="application/json",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def test_a_call_becomes_a_job(client: Client) -> None:
    response = post(client, "api.open", {"order": 7, "total": "1.50", "color": "blue", "sizes": [1]})
    assert response.status_code == 202
    job = Job.objects.get()
    assert response.json()["id"] == str(job.id)
    assert response.headers["Location"] == f"http://testserver{API}jobs/{job.id}/"
    assert response.headers["Retry-After"] == "1"
    assert (job.task_name, job.args) == ("api.open", [])
    assert job.kwargs == {"order": 7, "total": "1.50", "color": "blue", "sizes": [1]}
    shown = client.get(response.headers["Location"]).json()
    assert shown["kwargs"]["total"] == "1.50"
    assert shown["tags"] == ["a"]


@pytest.mark.parametrize(
    ("name", "body", "fields"),
    [
        ("api.open", {}, ["order"]),
        ("api.open", {"order": "7"}, ["order"]),
        ("api.open", {"order": True}, ["order"]),
        ("api.open", {"order": None}, ["order"]),
        ("api.open", {"order": 1, "total": "x"}, ["total"]),
        ("api.open", {"order": 1, "total": "NaN"}, ["total"]),
        ("api.open", {"order": 1, "color": "green"}, ["color"]),
        ("api.open", {"order": 1, "color": ["red"]}, ["color"]),
        ("api.open", {"order": 1, "when": "tomorrow"}, ["when"]),
        ("api.open", {"order": 1, "mode": "medium"}, ["mode"]),
        ("api.open", {"order": 1, "sizes": ["x"]}, ["sizes"]),
        ("api.open", {"order": 1, "sizes": {}}, ["sizes"]),
        ("api.open", {"order": 1, "more": 2, "__class__": 3}, ["more", "__class__"]),
        ("api.open", {"order": "7", "color": 1, "x": 1}, ["order", "color", "x"]),
        ("api.places", {"first": 1, "rest": 2}, ["rest"]),
        ("api.places", {"first": 1, "rest": ["x"]}, ["rest"]),
        ("api.places", {"first": 1, "name": 5}, ["name"]),
        ("api.places", {"first": 1, "a": "a\x00b"}, ["a"]),
        ("api.places", {"first": 1, "a": "\ud800"}, ["a"]),
        ("api.context", {"context": 1}, ["context"]),
        ("api.context", {"_private": 1, "not a name": 2}, ["_private", "not a name"]),
        ("api.open", [], ["non_field_errors"]),
        ("api.open", None, ["non_field_errors"]),
        ("api.open", "7", ["non_field_errors"]),
    ],
)
def test_errors_of_arguments_are_by_parameter(
    name: str, body: Any, fields: list[str], client: Client
) -> None:
    response = post(client, name, body)
    assert response.status_code == 400
    assert list(response.json()) == fields
    assert all(isinstance(each, list) and isinstance(each[0], str) for each in response.json().values())
    assert not Job.objects.exists()


def test_arguments_go_where_the_signature_wants_them(client: Client) -> None:
    for body, args, kwargs in (
        ({"first": 1}, [1], {}),
        ({"first": 1, "second": 5}, [1], {"second": 5}),
        ({"first": 1, "rest": [8, 9]}, [1, 2, 8, 9], {}),
        ({"first": 1, "rest": [8], "x": "y"}, [1, 2, 8], {"x": "y"}),
    ):
        assert post(client, "api.places", body).status_code == 202
        job = Job.objects.latest("id")
        assert (job.args, job.kwargs) == (args, kwargs)
    assert post(client, "api.slash/name", {}).status_code == 202
    assert post(client, "api.context", {"a": {"b": [1]}}).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "order"),
        (b"{", 400, "parse_error"),
        (b"\xff\xfe", 400, "parse_error"),
        (b'{"order":NaN}', 400, "parse_error"),
        (b'{"order":1e400}', 400, "order"),
        (b"[" * 100_000, 400, "parse_error"),
        (b'{"order":' + b"9" * 5000 + b"}", 400, "parse_error"),
        (b'{"order":' + b"1" * 3_000_000 + b"}", 413, "too_large"),
    ],
)
def test_a_malformed_body_is_one_clear_error(body: bytes, status: int, code: str, client: Client) -> None:
    response = post(client, "api.open", body)
    assert response.status_code == status
    assert response.json().get("code", next(iter(response.json()))) == code
    assert not Job.objects.exists()


def test_a_body_that_hides_its_length_is_read_no_further_than_the_cap(client: Client) -> None:
    class Endless:
        taken = 0

        def read(self, size: int) -> bytes:
            self.taken += size
            return b"1" * size

    stream = Endless()
    with pytest.raises(parsers.TooLarge):
        parsers.JSONBody().parse(stream)
    assert stream.taken == parsers.largest_body() + 1
    too_much = post(client, "api.context", {"a": "x" * 300_000})
    assert (too_much.status_code, list(too_much.json())) == (400, ["non_field_errors"])
    form = client.post(f"{API}tasks/api.open/enqueue/", {"order": 1})
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")


UNKNOWN = ["os.system", "api.unknown", "antigravity", "..", "api.open ", "API.OPEN", "é☃", "a/b", "x" * 3000]


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_and_unexposed_tasks_are_the_same_404(name: str, client: Client) -> None:
    hidden = post(client, "api.closed", {"order": 1})
    before = set(sys.modules)
    unknown = post(client, name, {"order": 1})
    assert (hidden.status_code, unknown.status_code) == (404, 404)
    assert hidden.content == unknown.content
    assert set(sys.modules) == before
    assert not Job.objects.exists()


def test_without_permission_all_tasks_look_the_same() -> None:
    client = login("view_job")
    answers = [post(client, name, {"order": 1}) for name in ("api.open", "api.closed", "api.unknown")]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.content for answer in answers}) == 1


def test_a_task_may_have_rules_of_its_own() -> None:
    client = login()
    assert post(client, "api.ruled", {"owner": "user"}).status_code == 202
    assert post(client, "api.ruled", {"owner": "other"}).status_code == 403
    assert post(client, "api.ruled", {}).status_code == 403
    assert post(Client(), "api.ruled", {"owner": "user"}).status_code in (401, 403)
    assert Job.objects.count() == 1


def test_a_repeated_request_is_answered_with_the_same_job(client: Client) -> None:
    first = post(client, "api.open", {"order": 1, "total": "2"}, idempotency_key="k1")
    again = post(client, "api.open", {"total": "2", "order": 1}, idempotency_key="k1")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["Location"] == again.headers["Location"]
    for name, body in (("api.open", {"order": 2}), ("api.places", {"first": 1})):
        other = post(client, name, body, idempotency_key="k1")
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert post(client, "api.open", {"order": "x"}, idempotency_key="k2").status_code == 400
    assert post(client, "api.open", {"order": 5}, idempotency_key="k2").status_code == 202
    stranger = client_of(make_user("add_job", name="stranger"))
    assert post(stranger, "api.open", {"order": 9}, idempotency_key="k1").status_code == 202
    assert Job.objects.count() == 3
    Job.objects.all().delete()
    gone = post(client, "api.open", {"order": 1, "total": "2"}, idempotency_key="k1")
    assert (gone.status_code, gone.json()) == (200, first.json())


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_must_be_one(key: str, client: Client) -> None:
    response = post(client, "api.open", {"order": 1}, idempotency_key=key)
    assert (response.status_code, list(response.json())) == (400, ["Idempotency-Key"])
    assert not Job.objects.exists()


def test_keys_are_forgotten_after_a_day() -> None:
    for hours in (23, 25):
        created = timezone.now() - timedelta(hours=hours)
        IdempotencyKey.objects.create(owner="1", key=str(hours), digest="", created_at=created)
    known = backend()
    assert known is not None
    assert forget(known.storage) == 1
    assert [row.key for row in IdempotencyKey.objects.all()] == ["23"]


@pytest.fixture
def racers(storage_alias: str, settings: Any) -> Iterator[str]:
    from .conftest import Router

    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    yield storage_alias


def test_racing_requests_with_one_key_enqueue_one_job(racers: str) -> None:
    user = make_user("add_job")
    clients = [client_of(user) for _ in range(8)]
    start = threading.Barrier(8)
    answers: list[Any] = []

    def send(client: Client) -> None:
        try:
            start.wait()
            answers.append(post(client, "api.open", {"order": 1}, idempotency_key="race"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert Job.objects.count() == IdempotencyKey.objects.count() == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    body=JSON | st.binary(max_size=50) | st.dictionaries(st.sampled_from(["order", "total", "color"]), JSON),
    name=st.sampled_from(["api.open", "api.places", "api.context", "api.closed"]),
)
def test_no_body_is_a_server_error(body: Any, name: str, client: Client) -> None:
    cache.clear()
    before = Job.objects.count()
    response = post(client, name, body)
    assert response.status_code in (202, 400, 404)
    assert response.headers["content-type"] == "application/json"
    assert Job.objects.count() == before + (response.status_code == 202)


def test_the_registry_tells_what_tasks_take(client: Client) -> None:
    shown = client.get(f"{API}tasks/api.open/").json()
    assert shown["arguments"] == arguments_schema(open_task)
    assert shown["arguments"]["required"] == ["order"]
    assert shown["arguments"]["properties"] == {
        "order": {"type": "integer"},
        "total": {"type": ["string", "integer"], "format": "decimal"},
        "color": {"enum": ["red", "blue"]},
        "when": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}], "default": None},
        "mode": {"enum": ["fast", "slow"], "default": "fast"},
        "sizes": {"type": "array", "items": {"type": "integer"}},
    }
    assert (shown["description"], shown["tags"], shown["queue"]) == ("For everybody.", ["a"], "default")
    assert shown["can_enqueue"] is True
    listed = {each["name"]: each for each in client.get(f"{API}tasks/").json()}
    assert listed["api.open"] == shown
    assert listed["api.closed"]["can_enqueue"] is False
    assert client.get(f"{API}tasks/os.system/").status_code == 404


def test_schemas_of_other_annotations() -> None:
    assert schema_of(tuple[int, str])["prefixItems"] == [{"type": "integer"}, {"type": "string"}]
    assert schema_of(dict[str, float])["additionalProperties"] == {"type": "number"}
    assert schema_of(set[int]) == {"type": "array", "items": {"type": "integer"}}
    assert schema_of(Any) == schema_of("unknown") == {}
    assert schema_of(type(uuid4()))["format"] == "uuid"


def test_requests_to_enqueue_have_a_rate_of_their_own(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rest_framework.settings import api_settings

    monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, "django_tasks_q_enqueue", "1/min")
    answers = [post(client, "api.open", {"order": 1}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert answers[1].json()["code"] == "throttled"
    assert int(answers[1].headers["Retry-After"]) > 0
    assert client.get(f"{API}jobs/").status_code == 200


def test_enqueue_costs_few_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(5):  # the first four are for the session, the user and permissions
        assert post(client, "api.open", {"order": 1}).status_code == 202


def test_csrf_is_asked_for_with_a_session() -> None:
    client = client_of(make_user("add_job"), enforce_csrf_checks=True)
    assert post(client, "api.open", {"order": 1}).status_code == 403
    assert not Job.objects.exists()


def test_the_form_in_a_browser_begins_with_the_parameters() -> None:
    url = f"{API}tasks/api.open/enqueue/"
    html = {"accept": "text/html"}
    page = login("add_job", "view_job").get(url, headers=html).content.decode()
    for name in arguments_schema(open_task)["properties"]:
        assert f"&quot;{name}&quot;: " in page
    blind = login("add_job", name="blind").get(url, headers=html).content.decode()
    assert "<form" in blind
    assert "&quot;order&quot;" not in blind
