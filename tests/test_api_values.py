"""What arguments may be, from the schema to the task, and what their rule is asked about."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.test import Client

from django_tasks_q import actions, task
from django_tasks_q.exceptions import UnserializableValue
from django_tasks_q.models import Job, Schedule
from django_tasks_q.testing import run_jobs

from .admin_support import JOBS as ADMIN_JOBS
from .admin_support import staff
from .api_support import API, login

pytestmark = pytest.mark.django_db


@dataclass
class Point:
    x: int
    label: str = ""
    tags: list[str] | None = None
    parent: "Point | None" = None
    anything: Any = None
    odd: int = None  # type: ignore[assignment]


class Pair(NamedTuple):
    left: int
    right: float = 0.5


ASKED: list[dict[str, Any]] = []


def rule(request: Any, task: Any, arguments: dict[str, Any]) -> bool:
    ASKED.append(arguments)
    return arguments.get("group") != 13


@task(name="values.place", api=True, admin=True)
def place(point: Point, pair: Pair | None = None, *more: Point, **others: Pair) -> str:
    return repr((point, pair, more, others))


@task(name="values.ruled", api=rule, admin=True)
def ruled(group: Group, *groups: Group, at: int = 0, **named: Group) -> str:
    return repr(group)


@pytest.fixture(autouse=True)
def nothing_yet() -> None:
    cache.clear()
    ASKED.clear()


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"{API}{path}", json.dumps(body), content_type="application/json")


GOOD: tuple[dict[str, Any], ...] = (
    {"point": {"x": 1}},
    {"point": {"x": 1, "label": "a", "tags": ["b"], "anything": {"c": [1]}, "odd": None}},
    {"point": {"x": 1, "parent": {"x": 2, "parent": None}}, "pair": [1, 2], "more": [{"x": 3}]},
    {"point": {"x": 1}, "other": [1, 1.5]},
)
BAD: tuple[dict[str, Any], ...] = (
    {"point": {"x": "1"}},
    {"point": {"x": True}},
    {"point": {"x": 1.5}},
    {"point": {"x": None}},
    {"point": {"x": 1, "label": 5}},
    {"point": {"x": 1, "label": None}},
    {"point": {"x": 1, "tags": [5]}},
    {"point": {"x": 1, "tags": "b"}},
    {"point": {"x": 1, "parent": {"x": "2"}}},
    {"point": {"x": 1, "odd": "1"}},
    {"point": {"x": 1}, "pair": ["1"]},
    {"point": {"x": 1}, "pair": [1, "2"]},
    {"point": {"x": 1}, "more": [{"x": "3"}]},
    {"point": {"x": 1}, "other": ["1", 1.5]},
)


def test_fields_of_records_are_what_their_annotations_say_at_every_door() -> None:
    client = login("add_job", "view_schedule", "add_schedule", "change_schedule")
    for arguments in GOOD:
        cache.clear()
        assert post(client, "tasks/values.place/enqueue/", **arguments).status_code == 202, arguments
    run_jobs()
    assert set(Job.objects.values_list("status", flat=True)) == {"SUCCESSFUL"}
    Job.objects.all().delete()
    for arguments in BAD:
        cache.clear()
        refused = post(client, "tasks/values.place/enqueue/", **arguments)
        assert refused.status_code == 400, arguments
        saved = post(client, "schedules/x/save/", task="values.place", every=60, arguments=arguments)
        assert saved.status_code == 400, arguments
    assert not Job.objects.exists()
    assert not Schedule.objects.exists()


def test_fields_of_records_are_checked_in_python_too() -> None:
    place.enqueue(Point(1, tags=["b"]), Pair(1, 2))
    for bad in (Point("1"), Point(1, label=None), Point(1, tags=[5]), Point(1, odd="1")):  # type: ignore[arg-type]
        with pytest.raises(UnserializableValue, match="must be of type"):
            place.enqueue(bad)
    with pytest.raises(UnserializableValue, match="must be of type"):
        place.enqueue(Point(1), Pair("1"))  # type: ignore[arg-type]
    assert Job.objects.count() == 1


def test_a_rule_sees_the_very_values_that_the_task_gets() -> None:
    client = login("view_schedule", "add_schedule", "change_schedule")
    Group.objects.create(pk=5, name="five")
    for given in (5, "5"):
        cache.clear()
        arguments = {"group": given, "groups": ["6", 7], "extra": "8", "at": 1}
        assert post(client, "tasks/values.ruled/enqueue/", **arguments).status_code == 202
        stored = {"group": 5, "groups": [6, 7], "extra": 8, "at": 1}
        assert ASKED.pop() == stored
        assert (
            post(client, "schedules/x/save/", task="values.ruled", every=9, arguments=arguments).status_code
            < 300
        )
        assert ASKED.pop() == stored
    assert Job.objects.first().args == [5, 6, 7]  # type: ignore[union-attr]
    for given in (13, "13"):
        assert post(client, "tasks/values.ruled/enqueue/", group=given).status_code == 403
    for odd in ("1_3", " 13 ", "13 ", "١٣", "+13", "013", "13.0", True, [13], ""):
        assert post(client, "tasks/values.ruled/enqueue/", group=odd).status_code == 400, odd
    assert Job.objects.count() == 2


def test_nothing_tells_which_rows_there_are() -> None:
    Group.objects.create(pk=5, name="five")
    client = login("view_schedule", "add_schedule", "change_schedule", "view_job", "enqueue_job")
    for path, body in (
        ("tasks/values.ruled/enqueue/", lambda key: {"group": key}),
        ("schedules/x/save/", lambda key: {"task": "values.ruled", "every": 9, "arguments": {"group": key}}),
    ):
        there, not_there = [], []
        for key, found in ((5, there), (999, not_there)):
            cache.clear()
            response = post(client, path, **body(key))
            found += [response.status_code, sorted(response.json())]
        assert there[0] in (200, 201, 202)
        assert not_there[0] in (200, 201, 202)
        assert there[1] == not_there[1]
    actions.save_schedule("y", "values.ruled", kwargs={"group": 998}, every=60)
    with pytest.raises((TypeError, ValueError)):
        actions.save_schedule("z", "values.ruled", kwargs={"group": "9_98"}, every=60)
    admin = staff("view_job", "enqueue_job", name="clerk")
    url = f"{ADMIN_JOBS}enqueue/?task=values.ruled"
    assert admin.post(url, {"argument-group": "999", "argument-at": "0"}).status_code == 302
    assert admin.post(url, {"argument-group": "9_99", "argument-at": "0"}).status_code == 400
