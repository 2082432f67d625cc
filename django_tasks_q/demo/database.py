"""The conversion of a database URL to an entry of ``DATABASES``."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

#: The environment variable with the URL, for all processes of the demo.
URL_VARIABLE = "DJANGO_TASKS_Q_DEMO_DATABASE_URL"

ENGINES = {
    "mariadb": "mysql",
    "mysql": "mysql",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "sqlite": "sqlite3",
}

#: Several processes write: a transaction waits for the lock at its start, and readers do not wait.
SQLITE_OPTIONS = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
}

#: Seconds to wait for a connection to the server.
CONNECT_TIMEOUT = 10


def configuration(url: str) -> dict[str, Any]:
    """Return the entry of ``DATABASES`` for a URL. Raise ValueError for an unusable URL."""
    parts = urlsplit(url)
    if parts.scheme not in ENGINES:
        raise ValueError(f"the URL starts with none of {', '.join(f'{scheme}://' for scheme in ENGINES)}")
    engine = f"django.db.backends.{ENGINES[parts.scheme]}"
    if parts.scheme == "sqlite":
        return {"ENGINE": engine, "NAME": _file(parts), "OPTIONS": SQLITE_OPTIONS}
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT} | {
        name: int(value) if value.isdecimal() else value for name, value in parse_qsl(parts.query)
    }
    # The names of libpq are accepted too: the directory of a socket cannot be written as the host of a URL.
    return {
        "ENGINE": engine,
        "NAME": _name(parts),
        "USER": options.pop("user", unquote(parts.username or "")),
        "PASSWORD": options.pop("password", unquote(parts.password or "")),
        "HOST": options.pop("host", unquote(parts.hostname or "")),
        "PORT": str(options.pop("port", parts.port or "")),
        "OPTIONS": options,
    }


def _file(parts: SplitResult) -> str:
    if parts.netloc:
        raise ValueError("the path of an SQLite file follows three slashes, or four if it is absolute")
    name = _name(parts)
    if name == ":memory:":
        raise ValueError("a database in memory cannot be used, since the worker is another process")
    return str(Path(name).absolute())


def _name(parts: SplitResult) -> str:
    if name := unquote(parts.path.removeprefix("/")):
        return name
    raise ValueError("the URL names no database")
