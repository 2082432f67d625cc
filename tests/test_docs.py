"""The reference says what the code says."""

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest
from django.apps import apps
from django.contrib.auth.management import _get_all_permissions
from django.core.management import get_commands
from django.core.management.base import BaseCommand
from django.dispatch import Signal

import django_tasks_q
from django_tasks_q import Backoff, actions, compat, exceptions, signals
from django_tasks_q.conf import Options
from django_tasks_q.definition.options import TaskOptions, UsingOptions
from django_tasks_q.definition.task import Task
from django_tasks_q.demo.cli import parser as demo_parser
from django_tasks_q.execution import endings
from django_tasks_q.execution.context import TaskContext
from django_tasks_q.executors import Executor
from django_tasks_q.lifecycle import outcome
from django_tasks_q.lifecycle.retry import OnLost
from django_tasks_q.lifecycle.states import FINAL, TRANSITIONS, JobStatus
from django_tasks_q.management.commands.prune_tasks import Command as PruneTasks
from django_tasks_q.management.commands.runworker import Command
from django_tasks_q.models import Attempt, Job
from django_tasks_q.models.job import JobQuerySet
from django_tasks_q.results.mapper import STATUS
from django_tasks_q.storage import contract

pytestmark = pytest.mark.once  # text beside text

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CODE = Path(django_tasks_q.__file__).parent
PAGES = sorted([*(ROOT / "docs").glob("[!_]*/**/*.md"), *DOCS.glob("*.md"), *ROOT.glob("*.md")])

sys.path.append(str(DOCS / "_ext"))


def text(page: str) -> str:
    return (DOCS / page).read_text()


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of the same level or a higher one."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = text(page).partition(f"\n{heading}\n")
    assert found, f"{page} has no {heading!r}"
    return re.split(rf"\n#{{1,{level}}} ", rest)[0]


def rows(markdown: str) -> Iterator[list[str]]:
    """The rows of all tables, without their heads."""
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def first_column(markdown: str) -> list[str]:
    return [name for row in rows(markdown) for name in code(row[0])]


def test_every_option_of_the_backend_has_its_default():
    documented = {
        code(row[0])[0]: code(row[1])[0] for row in rows(section("reference/settings.md", "## OPTIONS"))
    }
    known = {name.upper(): getattr(Options(), name) for name in (field.name for field in fields(Options))}
    assert {key: eval(default, {"Backoff": Backoff}) for key, default in documented.items()} == known


def test_every_option_of_a_task_is_there():
    decorator = {
        code(row[0])[0] for row in rows(section("reference/tasks.md", "## `@task`")) if len(row) == 3
    }
    assert {*TaskOptions.__annotations__, "takes_context"} <= decorator
    only = set(first_column(section("reference/tasks.md", "## `using(**options)`")))
    assert only == UsingOptions.__annotations__.keys() - TaskOptions.__annotations__.keys() | {"run_after"}


def test_defaults_of_a_task_are_those_of_the_code():
    table = {code(row[0])[0]: row[1] for row in rows(section("reference/tasks.md", "## `@task`"))}
    for field in fields(Task):
        default = field.default.value if isinstance(field.default, OnLost) else field.default
        if isinstance(default, (int, str)) and default != "" and default is not MISSING:
            assert ast.literal_eval(table[field.name].strip("`")) == default


def flags(parser: argparse.ArgumentParser, known: set[str] = frozenset({"--help"})) -> dict[str, object]:
    return {
        name: action.default
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--") and name not in known
    }


def test_every_flag_of_the_worker_is_there():
    usual = set(flags(BaseCommand().create_parser("manage.py", "any"), set())) | {"--help"}
    expected = flags(Command().create_parser("manage.py", "runworker"), usual)
    table = {
        code(row[0])[0].split()[0]: row[1]
        for row in rows(section("reference/commands.md", "## `manage.py runworker`"))
        if row[0].startswith("`--")
    }
    assert set(table) == set(expected)
    assert table["--threads"] == f"`{expected['--threads']}`"
    assert table["--async-concurrency"] == f"`{expected['--async-concurrency']}`"
    assert table["--backend"] == f"`{expected['--backend']}`"
    assert float(table["--shutdown-timeout"].strip("`")) == expected["--shutdown-timeout"]


def test_every_flag_of_the_demo_is_there():
    expected = flags(demo_parser())
    table = {
        code(row[0])[0].split()[0]: row[1]
        for row in rows(section("reference/commands.md", "## `python -m django_tasks_q demo`"))
    }
    assert set(table) == set(expected)
    assert table["--processes"] == f"`{expected['--processes']}`"


def test_every_check_is_there():
    source = "".join(path.read_text() for path in CODE.rglob("*.py"))
    ids = {f"django_tasks_q.{found}" for found in re.findall(r'"(?:django_tasks_q\.)?([EWI]\d{3})"', source)}
    assert ids
    assert sorted(first_column(text("reference/checks.md"))) == sorted(ids)


def test_every_exception_is_there_with_its_base():
    classes = {
        name: kind
        for name, kind in inspect.getmembers(exceptions, inspect.isclass)
        if kind.__module__ == exceptions.__name__
    }
    table = {code(row[0])[0]: code(row[1]) for row in rows(text("reference/exceptions.md"))}
    assert table.keys() == classes.keys()
    for name, bases in table.items():
        for base in bases:
            assert base in [kind.__name__ for kind in classes[name].__mro__[1:]]


def test_every_state_and_what_the_framework_calls_it_is_there():
    states = text("reference/states.md").partition("## Transitions")[0]
    table = {code(row[0])[0]: code(row[2])[0] for row in rows(states)}
    assert table == {state.value: STATUS[state].value for state in JobStatus}
    assert [state for state in table if state in FINAL] == list(table)[-len(FINAL) :]


def test_every_outcome_of_an_attempt_is_there():
    assert first_column(section("reference/states.md", "## Outcomes of an attempt")) == [
        *outcome.AttemptOutcome
    ]


def test_every_error_code_is_there():
    codes = {value for module in (endings, outcome) for name, value in vars(module).items() if name == value}
    codes.add(Options().default_error_code)
    codes |= set(re.findall(r'"([A-Z_]+)"', inspect.getsource(outcome.Outcome.crashed)))
    assert set(first_column(section("reference/states.md", "## Error codes"))) == codes


def test_moves_that_are_said_to_be_missing_are():
    """When one of them comes, the documentation has to be told."""
    import job_states

    assert set(job_states.PLACES) == set(JobStatus)
    verbs = {part for ends in TRANSITIONS.values() for verb in ends.values() for part in verb.split(", ")}
    assert set(job_states.NOT_YET) < verbs
    assert not [verb for verb in job_states.NOT_YET if hasattr(contract.JobVerbs, verb)]
    assert not [verb for verb in job_states.NOT_YET if hasattr(actions, verb)]
    assert "retry later" in job_states.table()
    assert job_states.diagram().count("<polyline") == sum(map(len, TRANSITIONS.values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_are_python_and_links_lead_somewhere(page):
    source = page.read_text()
    for example in re.findall(r"^```python\n(.*?)^```", source, re.M | re.S):
        ast.parse(example)
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", source):
        assert (page.parent / link).exists(), link


def test_every_promise_names_the_tests_that_prove_it():
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = {name for source in sources for name in re.findall(r"^def (test_\w+)\(", source, re.M)}
    guarantees = section("explanation/guarantees.md", "## What is guaranteed").split("\n### ")[1:]
    assert len(guarantees) > 10
    for guarantee in guarantees:
        assert set(re.findall(r"`(test_\w+)`", guarantee.rpartition("Proved by")[2])), guarantee
    table = list(rows(section("explanation/guarantees.md", "## Tests of the guarantees")))
    assert len(table) > 30
    for fault, promise, proofs in table:
        named = code(proofs)
        assert named, fault
        assert promise
        assert set(named) <= known, fault
    assert set(re.findall(r"`(test_\w+)`", text("explanation/guarantees.md"))) <= known


def test_every_flag_of_prune_tasks_is_there():
    usual = set(flags(BaseCommand().create_parser("manage.py", "any"), set())) | {"--help"}
    expected = flags(PruneTasks().create_parser("manage.py", "prune_tasks"), usual)
    table = first_column(section("reference/commands.md", "## `manage.py prune_tasks`"))
    assert [cell.split()[0] for cell in table] == list(expected)


def test_every_signal_is_there():
    table = first_column(section("reference/tasks.md", "## Signals"))
    of_the_framework = {name for name in compat.__all__ if name.startswith("task_")} - {"task_backends"}
    own = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(table) == of_the_framework | own - {"action_performed"}


def test_every_name_of_the_package_is_told_of():
    pages = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    for name in set(django_tasks_q.__all__) - {"__version__", "Task"}:
        assert f"`{name}" in pages or f"import {name}" in pages or f", {name}" in pages, name


def test_every_attribute_of_a_context_is_there():
    table = set(re.findall(r"\w+", " ".join(first_column(section("reference/tasks.md", "## The context")))))
    assert {name for name in vars(TaskContext) if not name.startswith("_")} <= table


@pytest.mark.parametrize(
    ("model", "heading", "left_out"),
    [(Job, "## Fields", set()), (Attempt, "## Attempts", {"id", "job"})],
)
def test_every_field_of_a_model_is_there(model, heading, left_out):
    documented = {name for row in rows(section("reference/job.md", heading)) for name in code(row[0])}
    assert documented == {field.name for field in model._meta.concrete_fields} - left_out


@pytest.mark.parametrize(("owner", "heading"), [(Job, "## Properties"), (JobQuerySet, "## Querysets")])
def test_what_a_job_and_its_queryset_offer_is_there(owner, heading):
    documented = {
        name.partition("(")[0] for row in rows(section("reference/job.md", heading)) for name in code(row[0])
    }
    kind = property if owner is Job else FunctionType
    own = {name for name, value in vars(owner).items() if isinstance(value, kind) and name[0] != "_"}
    assert documented == own - {"pk"}


# Paths and names that projects may rely on

STABLE = "reference/paths.md"
STABLE_PATHS = {code(row[0])[0]: code(row[1]) for row in rows(section(STABLE, "## Import paths"))}


def public(module: str) -> set[str]:
    """Return the names that a module offers to projects, by rules that are independent of the page."""
    found = import_module(module)
    match module.removeprefix("django_tasks_q").removeprefix("."):
        case "actions":
            verbs = {name for name in found.__all__ if "reason" in _parameters(getattr(found, name))}
            returned = {name for name in found.__all__ if hasattr(getattr(found, name), "_fields")} - {"Walk"}
            return verbs | returned | {"matching", "Reason"}
        case "admin":
            return {name for name in found.__all__ if name.endswith("Screens")}
        case "api.urls":
            return {"app_name", "urlpatterns"}
        case "executors":
            kinds = inspect.getmembers(found, inspect.isclass)
            return {name for name, kind in kinds if issubclass(kind, Executor)}
        case "exceptions":
            return set()  # listed on the page of exceptions
        case "signals":
            return {name for name, value in vars(found).items() if isinstance(value, Signal)}
        case "testing" if not hasattr(found, "__all__"):
            functions = inspect.getmembers(found, inspect.isfunction)
            return {name for name, each in functions if each.__module__ == module and name[0] != "_"}
    return set(found.__all__)


def _parameters(value: object) -> set[str]:
    return set(inspect.signature(value).parameters) if inspect.isfunction(value) else set()


def source_of(pattern: str, folder: str = "") -> set[str]:
    """Return what a pattern finds in the code of the package."""
    texts = (path.read_text() for path in (CODE / folder).rglob("*.py"))
    return {found for source in texts for found in re.findall(pattern, source)}


@pytest.mark.parametrize("module", STABLE_PATHS)
def test_stable_import_paths_exist_and_are_complete(module):
    names = STABLE_PATHS[module]
    assert [name for name in names if not hasattr(import_module(module), name)] == []
    assert set(names) == public(module)
    assert len(names) == len(set(names))


def test_stable_names_of_the_app():
    names = {row[0]: code(row[1])[0] for row in rows(section(STABLE, "## Django app"))}
    app = apps.get_app_config("django_tasks_q")
    assert list(names.values()) == [app.name, app.label, import_module("django_tasks_q.api.urls").app_name]


def test_every_command_is_listed():
    commands = first_column(section(STABLE, "## Commands"))
    ours = {name for name, app in get_commands().items() if app == "django_tasks_q"}
    demo = {"python -m django_tasks_q demo"}
    assert set(commands) == {f"manage.py {name}" for name in ours} | demo
    assert "usage: python -m django_tasks_q demo" in (CODE / "__main__.py").read_text()


def test_every_task_of_the_package_is_listed():
    names = first_column(section(STABLE, "## Tasks of the package"))
    assert set(names) == source_of(r'"(django_tasks_q\.tasks\.\w+)"')


def test_every_logger_is_listed():
    names = first_column(section(STABLE, "## Loggers"))
    assert set(names) == source_of(r'(?:getLogger|_logger)\("(django_tasks_q[\w.]*)"\)')


def test_every_permission_is_listed():
    table = {code(row[0])[0]: set(code(row[1])) for row in rows(section(STABLE, "## Permissions"))}
    models = apps.get_app_config("django_tasks_q").get_models()
    known = {model.__name__: {name for name, _ in _get_all_permissions(model._meta)} for model in models}
    assert table == {model: names for model, names in known.items() if names}


def test_every_throttle_scope_is_listed():
    names = first_column(section(STABLE, "## Throttle scopes"))
    assert set(names) == source_of(r'scope = "(\w+)"', "api")


def test_every_name_of_an_address_is_listed():
    def names(patterns):
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                yield from names(pattern.url_patterns)
            else:
                yield pattern.name

    table = [name for row in rows(section(STABLE, "## Names of addresses")) for name in code(row[1])]
    assert set(table) == set(names(import_module("django_tasks_q.api.urls").urlpatterns))
    assert len(table) == len(set(table))


def test_every_template_of_a_page_is_listed():
    named = set(first_column(section(STABLE, "## Templates")))
    folder = CODE / "templates" / "admin" / "django_tasks_q"
    pages = {path.name for path in folder.glob("*.html") if re.match(r"\{% extends ", path.read_text())}
    assert named == {f"admin/django_tasks_q/{name}" for name in pages}
