"""From a database URL to an entry of ``DATABASES``, with nothing but the standard library."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

#: Tells the demo's processes which database is used.
URL_VARIABLE = "DJANGO_TASKS_Q_DEMO_DATABASE_URL"

ENGINES = {
    "mariadb": "mysql",
    "mysql": "mysql",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "sqlite": "sqlite3",
}

#: Several processes write: wait for the lock when a transaction opens, and let readers be.
SQLITE_OPTIONS = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
}

#: Seconds until a server that does not answer counts as unreachable.
CONNECT_TIMEOUT = 10


def configuration(url: str) -> dict[str, Any]:
    """The entry of ``DATABASES`` for a URL. Raises ValueError for one that cannot be used."""
    parts = urlsplit(url)
    if parts.scheme not in ENGINES:
        raise ValueError(f"the URL starts with none of {', '.join(f'{scheme}://' for scheme in ENGINES)}")
    engine = f"django.db.backends.{ENGINES[parts.scheme]}"
    if parts.scheme == "sqlite":
        return {"ENGINE": engine, "NAME": _file(parts), "OPTIONS": SQLITE_OPTIONS}
    options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT} | {
        name: int(value) if value.isdecimal() else value for name, value in parse_qsl(parts.query)
    }
    # libpq's own names are heeded too: the folder of a socket cannot stand where a host does.
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
        raise ValueError("three slashes stand before the path of an SQLite file, or four if it is absolute")
    name = _name(parts)
    if name == ":memory:":
        raise ValueError("the worker is another process, which would not find a database in memory")
    return str(Path(name).absolute())


def _name(parts: SplitResult) -> str:
    if name := unquote(parts.path.removeprefix("/")):
        return name
    raise ValueError("the URL names no database")
