import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import django.test
import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connections, transaction
from pytest_django.fixtures import Settings

from django_tasks_q.definition.registry import registry

from . import databases
from .project import Project
from .ran import Ran


def on_every_database() -> list[object]:
    """Fixture parameters: one for each alias, which is then the only one that a test may use.

    TEST_DATABASES names some of them, with commas in between, to leave the others out.
    """
    chosen = os.environ.get("TEST_DATABASES", "").split(",")
    return [
        pytest.param(alias, marks=pytest.mark.django_db(transaction=True, databases=[alias]))
        for alias in django_settings.DATABASES
        if alias in chosen or chosen == [""]
    ]


#: For tests by way of ``project`` in which the database plays no part: they run on the first one only.
on_one_database = pytest.mark.parametrize("storage_alias", on_every_database()[:1], indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    # The databases are removed by exit handlers, which a plain SIGTERM would not run.
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        config.pluginmanager.register(Ran(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start workers, and leave out those of databases that are not chosen.

    Where TEST_DATABASES names some, these are the tests that name another one. The first database is always
    there: it is the default of tests in which the database plays no part. Where it names none, these are
    tests of workers on SQLite that are run on PostgreSQL as well: each takes seconds, and continuous
    integration runs them on another version of Python. Those which it runs on one version only stay.
    """
    for item in items:
        if "project" in getattr(item, "fixturenames", ()):
            item.add_marker("workers")
    chosen = os.environ.get("TEST_DATABASES", "").split(",")
    if chosen == [""]:
        _deselect(config, items, set(_twins(items)))
    others = list(django_settings.DATABASES)[1:]
    missing = {alias for alias in others if alias not in chosen and chosen != [""]}
    _deselect(config, items, {item for item in items if missing & named_databases(item)})


def _deselect(config: pytest.Config, items: list[pytest.Item], left_out: set[pytest.Item]) -> None:
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _twins(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """The tests of workers on the first database that are there on PostgreSQL too."""
    first = next(iter(django_settings.DATABASES))
    both: dict[tuple[object, ...], set[str]] = {}
    workers = [item for item in items if item.get_closest_marker("workers")]
    for item in workers:
        alias, others = _parameters(item)
        both.setdefault(others, set()).add(alias)
    for item in workers:
        alias, others = _parameters(item)
        is_run_elsewhere = not any(map(item.get_closest_marker, ("any_version", "once")))
        if alias == first and "postgres" in both[others] and is_run_elsewhere:
            yield item


def _parameters(item: pytest.Item) -> tuple[str, tuple[object, ...]]:
    """The database of a test, and what tells it from all others but those on another database."""
    parameters = dict(getattr(item, "callspec").params) if hasattr(item, "callspec") else {}  # noqa: B009
    alias = parameters.pop("storage_alias", "")
    return alias, (item.path, getattr(item, "originalname", item.name), repr(sorted(parameters.items())))


def named_databases(item: pytest.Item) -> set[str]:
    """The databases that a test asks for by their aliases, or by the fixture of a server."""
    marks = [mark.kwargs.get("databases") or () for mark in item.iter_markers("django_db")]
    named = {alias for mark in marks for alias in mark if mark != "__all__"}
    servers = {"postgres_url", "private"} & set(getattr(item, "fixturenames", ()))
    return named | ({"postgres"} if servers else set())


@cache
def tables_to_empty(alias: str) -> list[str]:
    kept = {"auth_permission", "django_content_type", "django_migrations"}
    return sorted({*connections[alias].introspection.django_table_names(only_existing=True)} - kept)


@pytest.fixture(autouse=True)
def forget_clashes() -> Iterator[None]:
    """Some tests name two tasks alike."""
    yield
    registry.clashes.clear()


class TransactionTestCase(django.test.TransactionTestCase):
    """Empties tables row by row: for the few rows of a test, many times faster than a flush."""

    def _fixture_teardown(self) -> None:
        for alias in self.databases:
            connection = connections[alias]
            with (
                connection.constraint_checks_disabled(),
                transaction.atomic(using=alias),
                connection.cursor() as cursor,
            ):
                for table in tables_to_empty(alias):
                    cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


# Where pytest-django looks the class up for tests marked with transaction=True.
django.test.TransactionTestCase = TransactionTestCase


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Nothing: each runner's databases have names of their own already."""


@pytest.fixture(params=on_every_database())
def storage_alias(request: pytest.FixtureRequest, settings: Settings) -> str:
    """Each database in turn; the default task backend keeps its jobs there."""
    alias: str = request.param
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": alias}
    settings.TASKS = {**settings.TASKS, "default": settings.TASKS["default"] | {"OPTIONS": options}}
    return alias


class Router:
    """Sends everything to one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: object, **hints: object) -> str:
        return self.alias

    db_for_write = db_for_read


@pytest.fixture
def project(storage_alias: str, settings: Settings, tmp_path: Path) -> Project:
    """The shop on each database in turn, for tests by way of its processes.

    The test's own queries go to the same database.
    """
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    settings.MEDIA_ROOT = tmp_path / "media"
    return Project(storage_alias, settings.DATABASE_URLS[storage_alias], tmp_path)


@pytest.fixture
def postgres_url(worker_id: str) -> Iterator[str]:
    """A new and empty PostgreSQL database."""
    name = f"empty_{worker_id}"
    server = databases.postgres_url()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
