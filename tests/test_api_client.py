"""A client that is generated from the schema works with the API as it is: enqueue, wait, cancel, look."""

import base64
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.cache import cache

from .api_support import API, make_user
from .project import Project

pytestmark = [
    pytest.mark.once,  # what a generator makes of one document
    pytest.mark.parametrize(
        "storage_alias",
        [pytest.param("postgres", marks=pytest.mark.django_db(transaction=True, databases=["postgres"]))],
        indirect=True,
    ),
]
TASK = "testproject.shop.tasks.change_prices"


@pytest.fixture
def document(client: Any, project: Project) -> dict[str, Any]:
    cache.clear()
    client.force_login(make_user("view_job", name="reader"))
    return client.get(f"{API}schema/", headers={"accept": "application/json"}).json()  # type: ignore[no-any-return]


@pytest.fixture
def generated(document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the package. Whatever the generator cannot make something of is an error."""
    (tmp_path / "schema.json").write_text(json.dumps(document))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    command = ["generate", "--path", "schema.json", "--config", "config.yaml", "--meta", "none"]
    command += ["--output-path", "jobs_client", "--fail-on-warning"]
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("jobs_client")]:
        monkeypatch.delitem(sys.modules, name)
    return "jobs_client"


def test_a_generated_client_enqueues_waits_and_cancels(
    generated: str, project: Project, live_server: Any, document: dict[str, Any]
) -> None:
    user = make_user("view_job", "view_payload_job", "add_job", "cancel_job", "change_job", name="robot")
    user.set_password("beep")
    user.save()

    def module(path: str) -> ModuleType:
        return importlib.import_module(f"{generated}.{path}")

    token = base64.b64encode(b"robot:beep").decode()
    with module("client").AuthenticatedClient(live_server.url, token=token, prefix="Basic") as client:
        models = module("models")

        def enqueue(percent: Any, key: str) -> Any:
            body = models.TasksEnqueueBody.from_dict({"percent": percent})
            ask = module("api.tasks.tasks_enqueue").sync_detailed
            return ask(TASK, client=client, body=body, idempotency_key=key)

        # Twice by one key, and then until it has ended.
        with project.worker("--queue", "prices"):
            first, again = enqueue(5, "a"), enqueue(5, "a")
            assert (first.status_code, again.status_code) == (202, 200)
            assert first.parsed.id == again.parsed.id
            job = module("api.jobs.jobs_retrieve").sync(str(first.parsed.id), client=client, wait=20.0)
        assert (job.status, job.return_value, job.kwargs.to_dict()) == ("SUCCESSFUL", 0, {"percent": 5})
        # A waiting job is changed and cancelled, and then cannot be cancelled again.
        other = enqueue(7, "b").parsed.id
        change = models.ChangeRequest(priority=9)
        assert module("api.jobs.jobs_change").sync(str(other), client=client, body=change).priority == 9
        cancel = module("api.jobs.jobs_cancel").sync_detailed
        gone = cancel(str(other), client=client, body=models.ReasonRequest(reason="enough")).parsed
        assert (gone.status, gone.cancel_reason) == ("CANCELLED", "enough")
        refused = cancel(str(other), client=client, body=models.ReasonRequest())
        assert (refused.status_code, refused.parsed.code, refused.parsed.status) == (
            409,
            "conflict",
            "CANCELLED",
        )
        # Errors are by field, and the list has both jobs.
        wrong = enqueue("x", "c")
        assert (wrong.status_code, wrong.parsed.to_dict()) == (400, {"percent": ["Must be of type int."]})
        page = module("api.jobs.jobs_list").sync(client=client)
        assert [job.id for job in page.results] == [other, first.parsed.id]
        assert page.searched_to is None
    # Every operation of the document is a function of the client.
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(document["paths"])
    for each in operations:
        assert module(f"api.{each['tags'][0]}.{each['operationId']}").sync_detailed
