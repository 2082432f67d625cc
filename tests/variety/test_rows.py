"""Whatever a row holds, it is shown as text by every door, and nothing in it is obeyed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.test import Client
from pytest_django.fixtures import Settings

from django_tasks_q import models
from django_tasks_q.storage.timestamps import native
from tests.conftest import Router

from .pages import Page, Visitor
from .rest import Client as Api
from .seeds import Seeds
from .terminal import Terminal
from .values import COMPUTED, ELEMENT, TRAP, some_values, values

IS_LONG = os.environ.get("VARIETY") == "long"
MODELS = (
    models.Job,
    models.Attempt,
    models.Progress,
    models.LogLine,
    models.Worker,
    models.Queue,
    models.Schedule,
    models.Firing,
    models.Statistic,
    models.IdempotencyKey,
)
#: Rows that hang on a job or a schedule, of which each row gets one of its own.
PARTS = {models.Attempt: "job", models.Progress: "job", models.LogLine: "job", models.Firing: "schedule"}
SCREENS = (
    *("job/dashboard/", "job/dashboard/?span=7d", "job/failed/", "job/tasks/", "queue/", "worker/"),
    *("schedule/", "job/", "job/?export=csv", "job/?status=failed"),
)
LISTS = ("jobs/", "jobs/?page_size=200", "queues/", "workers/", "schedules/", "stats/", "health/", "tasks/")
COMMANDS = (["jobs"], ["jobs", "--json"], ["stats"], ["stats", "--json"], ["workers"], ["workers", "--json"])
COMMANDS += (["schedules"], ["schedules", "--json"], ["health", "--queue", "mails", "--max-age", "1"])


class Doors:
    """Every door, and what was found to be wrong behind them."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.seeds = Seeds(datetime.now(UTC).replace(microsecond=0), "tests.tasksapp.tasks.add")
        self.seeds.make()
        browser = Client(raise_request_exception=False)
        browser.force_login(User.objects.create_superuser("root"))
        self.visitor = Visitor(browser, "/admin/")
        self.visitor.look = self._look
        self.api = Api(browser, "/api/tasks/", self.seeds)
        self.terminal = Terminal(alias)
        self.problems: list[str] = []
        self.made: list[Any] = []
        self._number = 0

    # Rows

    def make(self, model: Any, changes: dict[str, Any], what: str) -> bool:
        """A row like one of the seeds but for these columns. False where the database does not take it."""
        try:
            with transaction.atomic(using=self.alias):
                row = self._row(model, changes)
        except (DatabaseError, ValueError, OverflowError):
            return False
        row.what = what
        self.made.append(row)
        return True

    def _row(self, model: Any, changes: dict[str, Any]) -> Any:
        self._number += 1
        rows = model._default_manager.using(self.alias)
        # Those that were made first are the seeds, each in a state of its own.
        seeds = list(rows.order_by("pk")[:12]) or [self._key()]
        row = seeds[self._number % len(seeds)]
        if parent := PARTS.get(model):
            owner = self._row(models.Job if parent == "job" else models.Schedule, {})
            setattr(row, parent, owner)
        if model is models.Progress:
            row.pk = row.job_id
        elif model is models.Job or model is models.Worker:
            row.pk = self.seeds.id(seconds=self._number % 3000)
        else:
            row.pk = None
        if "name" in {field.name for field in model._meta.concrete_fields}:
            row.name = f"made {self._number}"
        if model is models.Statistic:
            row.queue_name = f"made {self._number}"
        if model is models.IdempotencyKey:
            row.key = f"made {self._number}"
        for name, value in changes.items():
            setattr(row, name, value)
        row.save(using=self.alias, force_insert=True)
        return row

    def _key(self) -> models.IdempotencyKey:
        moment = native(self.seeds.now)
        return models.IdempotencyKey(owner="root", key="k", digest="d", created_at=moment)

    # Doors

    def open(self) -> None:
        """All that shows many rows, and all that shows one of those that were made."""
        for screen in SCREENS:
            self.page(screen)
        for place in LISTS:
            self.route(place)
        for line in COMMANDS:
            self.terminal.run(*line)
        for row in self.made:
            self._open_row(row)
        assert TRAP.rpartition(".")[0] not in sys.modules, "a module was imported that only a row names"

    def _open_row(self, row: Any) -> None:
        owner = getattr(row, PARTS[type(row)]) if type(row) in PARTS else row
        match owner:
            case models.Job():
                self.page(f"job/{owner.pk}/change/")
                self.route(f"jobs/{owner.pk}/")
                if row is not owner:
                    for part in ("attempts/", "progress/", "logs/", "events/"):
                        self.route(f"jobs/{owner.pk}/{part}")
                elif row.what.startswith(("arguments", "task_name", "all")):
                    self.page(f"job/{owner.pk}/again/")
                self._number += 1
                self.terminal.run("show", str(owner.pk), *(["--json"] if self._number % 2 else []))
            case models.Worker():
                self.page(f"worker/{owner.pk}/change/")
                self.route(f"workers/{owner.pk}/")
            case models.Schedule():
                self.page(f"schedule/{owner.pk}/change/")
                self.page(f"schedule/{owner.pk}/edit/")
                if owner.backend == "default" and owner.name.isprintable() and "/" not in owner.name:
                    self.route(f"schedules/{owner.name}/")

    def page(self, place: str) -> None:
        self.visitor._open(self.visitor.home + place)

    def route(self, place: str) -> None:
        before = len(self.api.answers)
        self.api._ask("GET", place)
        answer = list(self.api.answers.values())[before:][0]
        if str(answer["type"]).startswith("application/json"):
            try:
                json.loads(answer["body"], parse_constant=refuse)
            except ValueError as error:
                self.api.problems.append(f"GET {place}: no JSON ({error})")
        self.api.answers.clear()

    def _look(self, page: Page) -> None:
        """Nothing of a row is an element, an attribute, an address that runs, or part of a template."""
        for element in page.elements:
            if ELEMENT in element:
                self.problems.append(f"{page.url}: <{' '.join(element)}> is not from a template")
        for link in page.links:
            if not link.startswith(("https://", "http://", "/")):
                self.problems.append(f"{page.url}: a link to {link!r:.80}")
        if COMPUTED in page.source:
            self.problems.append(f"{page.url}: a row was taken for a template")

    @property
    def found(self) -> list[str]:
        return [*self.problems, *self.visitor.problems, *self.api.problems, *self.terminal.problems]


def refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class Lines(logging.Handler):
    """Keeps what is written to logs that a terminal would obey."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(not c.isprintable() and c != "\n" for c in text):
            self.problems.append(f"{record.name} logs {text!r:.200}")


@pytest.fixture
def doors(storage_alias: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doors]:
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    lines = Lines()
    logger = logging.getLogger("django_tasks_q")
    logger.addHandler(lines)
    # Each failure is told once, by the test.
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)
    from django.core.signals import got_request_exception

    opened = Doors(storage_alias)
    for each in (opened.visitor, opened.api):
        got_request_exception.connect(each._keep_error)
    yield opened
    for each in (opened.visitor, opened.api):
        got_request_exception.disconnect(each._keep_error)
    logger.removeHandler(lines)
    assert not lines.problems


def columns(model: Any) -> list[Any]:
    """Those that are no keys: a new one is here by itself."""
    return [field for field in model._meta.concrete_fields if not field.primary_key and not field.is_relation]


def told(found: list[str]) -> str:
    """One of each kind, in a few lines."""
    kinds: dict[str, str] = {}
    for each in found:
        lines = each.strip().splitlines()
        place = re.sub(r"[0-9a-f-]{36}|\d+", "0", lines[0].partition(": ")[0])
        kinds.setdefault(place[:40] + lines[-1], each)
    shown = [f"- {each[:300]}\n  {each[300:][-500:]}" for each in kinds.values()]
    return "\n".join([f"{len(found)} problems of {len(kinds)} kinds", *shown[:40]])


def test_every_model_is_here() -> None:
    ours = {model for model in vars(models).values() if isinstance(model, type) and hasattr(model, "_meta")}
    assert ours == set(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_one_column_at_a_time(doors: Doors, model: Any) -> None:
    """Each value of each column in a row that is like others otherwise."""
    if doors.alias != "default" and not IS_LONG:
        pytest.skip("in a short run, all columns at once are opened on this database")
    made = 0
    for field in columns(model):
        for name, value in (values if IS_LONG else some_values)(field):
            made += doors.make(model, {field.name: value}, f"{field.name}: {name}")
    assert made > len(columns(model))
    doors.open()
    assert not doors.found, told(doors.found)


def test_all_columns_at_once(doors: Doors) -> None:
    """The first value of every column of every model, the second of every one, and so on."""
    of = values if IS_LONG else some_values
    most = max(len(list(of(field))) for model in MODELS for field in columns(model))
    for number in range(most):
        for model in MODELS:
            changes = {}
            for field in columns(model):
                found = list(of(field))
                name, value = found[number % len(found)]
                if name != "null" or doors.alias == "default":
                    changes[field.name] = value
            doors.make(model, changes, f"all: {number}")
    assert len(doors.made) > 3 * len(MODELS)
    doors.open()
    assert not doors.found, told(doors.found)
