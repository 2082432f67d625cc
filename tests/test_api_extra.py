"""A project without the extra of the API has one that works, with less; and generated clients work."""

import json
import subprocess
import sys
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from django_tasks_q import task
from django_tasks_q.checks import check_api

from .api_support import API, login
from .project import ROOT

WITHOUT = """
import sys

sys.modules["django_filters"] = sys.modules["drf_spectacular"] = None
import os
import django
from django.core import checks

django.setup()
from django.test.utils import setup_test_environment
from django.urls import resolve, reverse

import testproject.urls
from django_tasks_q.api import filters, openapi, verbs

print(filters.FILTERS, openapi.HAS_SCHEMA, [m.id for m in checks.run_checks(tags=["tasks"])])
for message in checks.run_checks(tags=["tasks"]):
    print(message.msg)
view = resolve("/api/tasks/v1/jobs/").func.cls
print(view.filter_backends, view.schema)
try:
    resolve("/api/tasks/v1/schema/")
except Exception as error:
    print(type(error).__name__)
"""


def test_without_the_extra_one_sentence_says_so_and_the_rest_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "testproject.settings", "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, sentence, view, missing = done.stdout.splitlines()[:4]
    assert first == "() False ['django_tasks_q.W004']"
    assert "django-filter and drf-spectacular cannot be imported" in sentence
    assert view == "() None"
    assert missing == "Resolver404"


def test_with_the_extra_there_is_nothing_to_say() -> None:
    assert check_api(None) == []


class Generated:
    """A client made from the OpenAPI document alone: one method for each operation, by its id."""

    def __init__(self, client: Client, document: dict[str, Any]) -> None:
        self._client = client
        self._operations = {
            operation["operationId"]: (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    def __getattr__(self, name: str) -> Any:
        method, path, operation = self._operations[name]

        def call(body: Any = None, **parameters: Any) -> Any:
            places = {each["name"]: each["in"] for each in operation.get("parameters", [])}
            assert set(parameters) <= set(places), "the document does not know the parameter"
            assert (body is None) or "requestBody" in operation
            address = path.format(
                **{key: value for key, value in parameters.items() if places[key] == "path"}
            )
            query = {key: value for key, value in parameters.items() if places[key] == "query"}
            if method == "get":
                response: Any = self._client.get(address, query)
            else:
                response = self._client.post(
                    address, json.dumps(body or {}), content_type="application/json", query_params=query
                )
            assert str(response.status_code) in operation["responses"], "an answer that is not documented"
            return response.json()

        return call


@task(name="client.greet", api=True)
def greet(name: str) -> str:
    return f"Hello {name}"


@pytest.mark.django_db
def test_a_generated_client_enqueues_waits_and_cancels() -> None:
    from django_tasks_q.testing import run_jobs

    cache.clear()
    client = login("view_job", "view_payload_job", "add_job", "cancel_job")
    api = Generated(client, client.get(f"{API}schema/?format=json").json())
    job = api.tasks_enqueue({"name": "Ada"}, name="client.greet")
    assert api.jobs_retrieve(id=job["id"], wait=0)["status"] == "READY"
    run_jobs()
    done = api.jobs_retrieve(id=job["id"], wait=5)
    assert (done["status"], done["return_value"]) == ("SUCCESSFUL", "Hello Ada")
    other = api.tasks_enqueue({"name": "Bob"}, name="client.greet")
    assert api.jobs_cancel({"reason": "no more"}, id=other["id"])["status"] == "CANCELLED"
    assert api.jobs_cancel(id=other["id"])["code"] == "conflict"
    assert api.jobs_list(status="CANCELLED")["results"][0]["id"] == other["id"]
