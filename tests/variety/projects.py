"""Projects as processes: each has settings of a variant, and copies of tables that were made once."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests import databases, warm

from .variants import VARIANTS

ROOT = warm.ROOT
TEMPLATE = "variety_template"


def folder() -> Path:
    """Where the runners of a test run keep what they share."""
    path = databases.directory() / "variety"
    path.mkdir(exist_ok=True)
    return path


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Among all runners: the first one makes what the others then find."""
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def now() -> str:
    """The moment that all rows are made by."""
    path = folder() / "now"
    with alone("now"):
        if not path.exists():
            path.write_text(datetime.now(UTC).replace(microsecond=0).isoformat())
    return path.read_text()


def sqlite(name: str) -> str:
    return f"sqlite:///{folder() / name}.sqlite3"


def postgres(name: str) -> str:
    return urlsplit(databases.postgres_url())._replace(path=f"/{name}").geturl()


def statement(sql: str) -> None:
    with psycopg.connect(databases.postgres_url(), autocommit=True) as connection:
        connection.execute(sql)


def template(kind: str) -> None:
    """Make the tables of a plain project, once."""
    made = folder() / f"{kind}.made"
    with alone(kind):
        if made.exists():
            return
        url = sqlite(TEMPLATE)
        if kind == "postgres":
            statement(f"DROP DATABASE IF EXISTS {TEMPLATE}")
            statement(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            url = postgres(TEMPLATE)
        env = environment("plain", url, folder())
        done = start(["-m", "django", "migrate", "--verbosity", "0"], env, folder() / f"{kind}.log")
        assert done == 0, (folder() / f"{kind}.log").read_text()
        made.touch()


@contextmanager
def database(kind: str, name: str, *, is_empty: bool) -> Iterator[str]:
    """The URL of a database with the tables of a plain project, or with none."""
    if not is_empty:
        template(kind)
    if kind == "postgres":
        statement(f"CREATE DATABASE {name} TEMPLATE {'template0' if is_empty else TEMPLATE}")
        try:
            yield postgres(name)
        finally:
            statement(f"DROP DATABASE {name} WITH (FORCE)")
        return
    path = folder() / f"{name}.sqlite3"
    if not is_empty:
        shutil.copy(folder() / f"{TEMPLATE}.sqlite3", path)
    yield sqlite(name)
    for file in folder().glob(f"{name}.sqlite3*"):
        file.unlink()


def environment(variant: str, url: str, directory: Path) -> dict[str, str]:
    return os.environ | {
        "VARIANT": variant,
        "DATABASE_URL": url,
        "VARIANT_DIRECTORY": str(directory),
        "DJANGO_SETTINGS_MODULE": "tests.variety.settings",
        "NOW": now(),
    }


def start(arguments: list[str], env: dict[str, str], log: Path) -> int:
    """Run ``python`` to its end; what it writes goes to the log."""
    with Path(os.devnull).open() as nothing, log.open("wb") as stream:
        process = warm.starter().start(
            arguments, env=env, cwd=ROOT, stdin=nothing, stdout=stream, stderr=stream
        )
    try:
        return process.wait(240)
    finally:
        process.kill()


def visited(variant: str, kind: str) -> dict[str, Any]:
    """The report on a project."""
    return reference() if (variant, kind) == ("plain", "default") else _visited(variant, kind)


def _visited(variant: str, kind: str) -> dict[str, Any]:
    made = VARIANTS[variant]
    name = f"variety_{variant}_{kind}_{os.getpid()}"
    directory = folder() / name
    directory.mkdir()
    with (
        database(kind, name, is_empty=made.is_migrated) as url,
        database(kind, f"{name}_2", is_empty=True) as other,
    ):
        env = environment(variant, url, directory) | {"REPORT": str(directory / "report.json")}
        env["OTHER_DATABASE"] = urlsplit(other).path if kind == "default" else f"{name}_2"
        code = start(["-m", "tests.variety.visit"], env, directory / "log")
    report = directory / "report.json"
    assert report.exists(), f"ended with {code}:\n{(directory / 'log').read_text()[-5000:]}"
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def reference() -> dict[str, Any]:
    """The report on a plain project on SQLite, to which the others are compared."""
    path = folder() / "reference.json"
    with alone("reference"):
        if not path.exists():
            path.write_text(json.dumps(_visited("plain", "default")))
    found: dict[str, Any] = json.loads(path.read_text())
    return found
