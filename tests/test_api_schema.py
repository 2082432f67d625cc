"""The OpenAPI schema says what the API does: it validates, it is fuzzed, and the documentation knows it."""

import base64
import importlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pkgutil import iter_modules
from typing import Any

import pytest
import schemathesis
from django.core.cache import cache
from django.utils import timezone, translation
from django.utils.functional import Promise
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from rest_framework.serializers import Serializer
from rest_framework.settings import api_settings
from schemathesis import GenerationMode

from django_tasks_q import api, task
from django_tasks_q.api import jobs
from django_tasks_q.api.errors import CODES
from django_tasks_q.models import Job, Queue, Worker
from testproject.wsgi import application

from .api_support import API, login, make_attempt, make_job, make_schedule, make_user, make_worker, patterns
from .drawing import examples
from .project import ROOT
from .test_api_matrix import ALL, RULES

pytestmark = pytest.mark.django_db
PAGE = (ROOT / "docs" / "reference" / "rest.md").read_text()
#: Examples for each operation.
EXAMPLES = examples(8)


@task(name="fuzz.anything", api=True)
def anything(**arguments: Any) -> None:
    pass


# No pattern says what Python calls printable, so the schema gives it a format.
schemathesis.openapi.format(
    "printable",
    st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128),
)


@pytest.fixture(autouse=True)
def no_requests_yet() -> None:
    cache.clear()


def document() -> dict[str, Any]:
    response = login("view_job", name="reader").get(f"{API}schema/", headers={"accept": "application/json"})
    assert response.status_code == 200
    return response.json()  # type: ignore[no-any-return]


def test_the_schema_is_valid_and_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    GENERATOR_STATS.reset()
    found = document()
    validate_schema(found)
    assert not GENERATOR_STATS
    assert capsys.readouterr().err == ""


def test_the_schema_has_every_route_and_no_other() -> None:
    paths = document()["paths"]
    routes = {
        f"/api/tasks/{route}".replace("<str:pk>", "{id}").replace(
            "<django_tasks_q_name:name>", "{name}"
        ): RULES[pattern.name][0]
        for route, pattern in patterns()
        if route.startswith("v1/") and pattern.name and pattern.name != "schema"
    }
    assert {path: next(iter(methods)) for path, methods in paths.items()} == routes
    assert all(len(methods) == 1 for methods in paths.values())


def test_a_project_with_other_defaults_gets_the_same_schema(settings: Any) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema"}
    validate_schema(document())


def test_the_page_names_every_path_parameter_and_code() -> None:
    found = document()
    for path, methods in found["paths"].items():
        method = next(iter(methods))
        short = path.removeprefix("/api/tasks/")
        assert f"`{method.upper()} {short}`" in PAGE, short
        for parameter in methods[method].get("parameters", []):
            if parameter["in"] in ("query", "header") and parameter["name"] != "format":
                assert f"`{parameter['name']}`" in PAGE, parameter["name"]
    for code, status in CODES.items():
        assert f"| `{code}` | {status} |" in PAGE
    for schema in (
        "Job",
        "Queue",
        "Worker",
        "Schedule",
        "ScheduleDone",
        "Stats",
        "Health",
        "BulkDone",
        "LogLine",
        "Attempt",
        "Progress",
    ):
        for field in found["components"]["schemas"][schema]["properties"]:
            assert f"`{field}`" in PAGE, (schema, field)
    for name, (_, needed, _) in RULES.items():
        if len(needed) > 1:
            assert f"`{needed[-1]}`" in PAGE, name


def test_what_people_read_is_translated() -> None:
    """When a request is answered, not when a module is imported."""
    names = [f"django_tasks_q.api.{each.name}" for each in iter_modules(api.__path__)]
    texts: dict[str, Any] = {}
    for module in map(importlib.import_module, names):
        for name, found in vars(module).items():
            if isinstance(found, type) and issubclass(found, Serializer):
                fields = found().fields.items()
                own = {key for base in found.__mro__ for key in getattr(base, "_declared_fields", ())}
                texts |= {f"{name}.{key}": field.help_text for key, field in fields if key in own}
            if isinstance(found, tuple) and len(found) == 4 and found[2] in ("path", "header"):
                texts[f"{module.__name__}.{name}"] = found[3]
    texts = {name: text for name, text in texts.items() if text}
    assert len(texts) > 15
    assert [name for name, text in texts.items() if not isinstance(text, Promise)] == []
    with translation.override("de"):
        assert document()["paths"]  # and the lazy texts can be rendered


@pytest.fixture
def fuzzed() -> Iterator[dict[str, str]]:
    """Rows of all kinds, and the header of a user with all permissions."""
    user = make_user(*ALL, name="fuzzer")
    user.set_password("fuzz")
    user.save()
    make_worker(lease_expires_at=timezone.now() + timedelta(hours=1))
    Queue.objects.create(backend="default", name="default")
    make_schedule()
    for status in ("READY", "FAILED", "RUNNING"):
        make_attempt(make_job(status=status, task_name="fuzz.anything"))
    secret = base64.b64encode(b"fuzzer:fuzz").decode()
    yield {"Authorization": f"Basic {secret}"}


def without_nul(value: Any) -> Any:
    """Return JSON without NUL, which databases refuse and a schema of any values cannot exclude."""
    match value:
        case str():
            return value.replace("\x00", "")
        case list():
            return [without_nul(each) for each in value]
        case dict():
            return {without_nul(key): without_nul(each) for key, each in value.items()}
    return value


@pytest.mark.django_db(transaction=True)
def test_nothing_that_the_schema_allows_or_forbids_breaks_the_server(
    fuzzed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for scope in ("django_tasks_q", "django_tasks_q_enqueue", "django_tasks_q_action"):
        monkeypatch.setitem(api_settings.DEFAULT_THROTTLE_RATES, scope, None)
    monkeypatch.setattr(jobs, "MAX_WAIT", 0.2)  # no job that is drawn ever ends
    schema = schemathesis.openapi.from_wsgi(f"{API}schema/?format=json", application, headers=fuzzed)

    @schema.auth()
    class Auth:
        def get(self, case: Any, context: Any) -> str:
            return fuzzed["Authorization"]

        def set(self, case: Any, data: str, context: Any) -> None:
            case.headers["Authorization"] = data

    known = {
        "jobs": str(Job.objects.filter(status="READY").get().id),
        "workers": str(Worker.objects.get().id),
    }
    tried = 0

    def check(case: Any, mode: GenerationMode) -> None:
        nonlocal tried
        tried += 1
        if mode == GenerationMode.POSITIVE and tried % 2:  # else hardly any would exist
            if "id" in case.path_parameters:
                case.path_parameters["id"] = known[case.operation.path.split("/")[4]]
            if "name" in case.path_parameters:
                kind = case.operation.path.split("/")[4]
                case.path_parameters["name"] = {"tasks": "fuzz.anything", "schedules": "nightly"}.get(
                    kind, "default"
                )
        if mode == GenerationMode.POSITIVE:
            case.body = without_nul(case.body)
        case.call_and_validate()

    limits = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for result in schema.get_all_operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            cases = result.ok().as_strategy(generation_mode=mode)
            # About an operation without parameters nothing can be wrong.
            with suppress(Unsatisfiable):
                limits(given(case=cases, mode=st.just(mode))(check))()
    assert tried > len(schema.raw_schema["paths"])


def test_the_page_about_progress_bars_shows_the_files_of_the_shop() -> None:
    text = (ROOT / "docs" / "how-to" / "progress-bar.md").read_text()
    for name in ("templates/shop/progress.html", "static/shop/progress.js", "views.py"):
        assert (ROOT / "testproject" / "shop" / name).read_text().strip() in text, name
