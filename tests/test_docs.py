"""The reference says what the code says."""

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import FunctionType

import pytest
from django.core.management.base import BaseCommand

import django_tasks_q
from django_tasks_q import Backoff, actions, compat, exceptions
from django_tasks_q.conf import Options
from django_tasks_q.definition.options import TaskOptions, UsingOptions
from django_tasks_q.definition.task import Task
from django_tasks_q.demo.cli import parser as demo_parser
from django_tasks_q.execution import endings
from django_tasks_q.execution.context import TaskContext
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
    proofs_of_all = section("explanation/guarantees.md", "## What proves it").partition("\n### ")[0]
    table = list(rows(proofs_of_all))
    assert len(table) > 30
    for fault, promise, proofs in table:
        named = code(proofs)
        assert named, fault
        assert promise
        assert set(named) <= known, fault


def test_every_flag_of_prune_tasks_is_there():
    usual = set(flags(BaseCommand().create_parser("manage.py", "any"), set())) | {"--help"}
    expected = flags(PruneTasks().create_parser("manage.py", "prune_tasks"), usual)
    table = first_column(section("reference/commands.md", "## `manage.py prune_tasks`"))
    assert [cell.split()[0] for cell in table] == list(expected)


def test_every_signal_is_there():
    table = first_column(section("reference/tasks.md", "## Signals"))
    assert set(table) == {name for name in compat.__all__ if name.startswith("task_")} - {"task_backends"}


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
