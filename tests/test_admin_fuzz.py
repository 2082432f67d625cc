"""The admin handles any query and any form, and changes nothing without a valid confirmation."""

import base64
import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from django_tasks_q.admin.form_fields import inputs_of
from django_tasks_q.admin.job_list import FILTER_NAMES, ORDER_BY, TABS, WINDOWS
from django_tasks_q.admin.verbs import VERBS
from django_tasks_q.models import Job

from .admin_support import ACTION, BASE, DASHBOARD, JOBS, QUEUES, make_failed, make_job, make_worker
from .conftest import Router
from .drawing import examples
from .test_admin_enqueue import everything, form_url

quick = settings(max_examples=examples(60), deadline=None, suppress_health_check=[*HealthCheck])

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.one_of(st.integers(), st.floats()).map(str)
moments = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.builds("{}-{}-{}T{}:{}".format, *[st.integers(-1, 99999)] * 5),
)
ids = st.one_of(st.uuids().map(str), st.uuids().map(lambda id: id.hex), text)
words = st.one_of(
    text,
    numbers,
    moments,
    ids,
    st.sampled_from([*TABS, *WINDOWS, "1", "none", "shop.ship", "default"]),
)
names = st.one_of(st.sampled_from([*FILTER_NAMES, "span", "export", "next", "ids", "id"]), text)
queries = st.dictionaries(names, words, max_size=6)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text, moments, ids),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


def token(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


tokens = st.one_of(
    text,
    json_values.map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode()),
    st.lists(st.one_of(text, moments, st.integers(-40_000, 40_000), ids), min_size=1, max_size=3).map(
        lambda values: token(*values)
    ),
    st.builds(token, moments, ids),
    st.builds(token, text, st.integers(-40_000, 40_000), ids),
    st.binary(max_size=40).map(lambda data: base64.urlsafe_b64encode(data).decode()),
)


@pytest.fixture
def root(storage_alias: str, settings: Settings) -> Client:
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    make_failed()
    make_job(status="SCHEDULED", run_after=timezone.now() + timedelta(days=1), attempts=1)
    make_job(status="RUNNING", worker_id=make_worker().pk)
    return client


def state() -> list[Any]:
    return list(Job.objects.order_by("pk").values())


def test_filters_of_all_kinds(root: Client) -> None:
    before = state()

    @quick
    @given(queries)
    @example({"since": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-14:00"})
    def check(query: dict[str, str]) -> None:
        for url in (JOBS, DASHBOARD):
            assert root.get(url, query).status_code in (200, 302), query

    check()
    assert state() == before


def test_tokens_of_pages_of_all_kinds(root: Client) -> None:
    @quick
    @given(st.sampled_from([*ORDER_BY, "all", "failed"]), tokens)
    @example("scheduled", token("0001-01-01T00:00:00+14:00", str(UUID(int=0))))
    @example("scheduled", token("9999-12-31T23:59:59-14:00", str(UUID(int=0))))
    @example("retrying", token("2026-01-01T00:00:00", str(UUID(int=0))))
    def check(tab: str, after: str) -> None:
        response = root.get(JOBS, {"status": tab, "after": after, "window": "all"})
        assert response.status_code == 200, (tab, after)
        following = response.context_data["next_url"]
        assert not following or root.get(JOBS + following).status_code == 200

    check()


def test_ids_of_all_kinds(root: Client) -> None:
    before = state()

    @quick
    @given(ids)
    def check(id: str) -> None:
        place = quote(id, safe="") or "-"
        for path in ("job/{}/change/", "job/{}/again/", "job/{}/history/", "worker/{}/change/"):
            response = root.get(BASE + path.format(place))
            assert response.status_code in (301, 302, 404), (path, id)
        assert root.post(f"{BASE}worker/{place}/stop/", {"confirmed": "1"}).status_code in (301, 302, 404)
        assert root.post(f"{JOBS}actions/delete/", {"ids": id, "confirmed": "1"}).status_code in (200, 302)

    check()
    assert state() == before


def test_forms_of_all_kinds(root: Client) -> None:
    fields = st.sampled_from(["reason", "at", "moment", "priority", "queue_name", "typed", "until", "queue"])
    job = Job.objects.get(status="FAILED")

    @quick
    @given(st.sampled_from([*VERBS]), st.dictionaries(fields, words), words)
    def send(verb: str, values: dict[str, str], matching: str) -> None:
        # Without a confirmation, or for jobs that the filter does not match, nothing changes.
        before = state()
        for data in ({"ids": str(job.pk)}, {"matching": f"task={quote(matching)}.none", "confirmed": "1"}):
            response = root.post(f"{JOBS}actions/{verb}/", {**values, **data})
            assert response.status_code in (200, 302, 400), (verb, values)
        chosen = {**values, ACTION: verb, "_selected_action": str(job.pk)}
        assert root.post(f"{JOBS}{job.pk}/change/", chosen).status_code in (200, 302, 405)
        assert state() == before
        data = {"backend": "default", "queue": "default", **values, "confirmed": "1"}
        for name in ("pause", "limit", "resume"):
            assert root.post(f"{QUEUES}actions/{name}/", data).status_code in (302, 400), values
        assert state() == before

    send()


def test_arguments_of_all_kinds(root: Client) -> None:
    parameters = [each.name for each in inputs_of(everything)]
    values = st.one_of(words, json_values.map(json.dumps))
    asked = st.dictionaries(st.sampled_from(parameters), values)

    @quick
    @given(asked, st.dictionaries(st.sampled_from(["queue_name", "priority", "at"]), words))
    def send(arguments: dict[str, str], options: dict[str, str]) -> None:
        before = Job.objects.count()
        data = {"argument-text": "t", "argument-number": "1"}
        data |= {f"argument-{name}": value for name, value in arguments.items()}
        response = root.post(form_url(), data | options)
        assert response.status_code in (302, 400), (arguments, options)
        # Either a job is enqueued, whose page can be opened, or the form shows an error.
        assert Job.objects.count() - before == (response.status_code == 302)
        if response.status_code == 302:
            assert root.get(response["Location"]).status_code == 200
        else:
            assert response.context_data["form"].errors

    send()


def test_tasks_of_all_names(root: Client) -> None:
    @quick
    @given(text)
    def check(name: str) -> None:
        assert root.get(f"{JOBS}enqueue/", {"task": name}).status_code == 404
        assert root.post(f"{JOBS}enqueue/?task={quote(name)}").status_code == 404

    check()
