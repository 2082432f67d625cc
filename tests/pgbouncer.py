"""PgBouncer in transaction mode before a PostgreSQL server, where Debian's package or another brought it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from . import databases
from .project import wait_for


@contextmanager
def pooled(url: str, pool_size: int = 2) -> Iterator[str]:
    """Start PgBouncer and answer the database's URL by way of it. Skips the test where there is none."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    server = conninfo_to_dict(url)
    host, port = str(server.get("host", "localhost")), int(server.get("port") or 5432)
    directory = databases.directory() / f"pgbouncer_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        listen_port = probe.getsockname()[1]
    password = f" password={server['password']}" if "password" in server else ""
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={host} port={port} user={server['user']}{password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen_port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {pool_size}\n"
    )
    # It refuses to run as root; who owns the server's socket may use it.
    user = Path(host).stat().st_uid if host.startswith("/") else 65534
    process = subprocess.Popen(
        [program, str(directory / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=user if os.geteuid() == 0 else None,
    )
    pooled_url = urlsplit(url)._replace(netloc=f"{server['user']}@127.0.0.1:{listen_port}", query="").geturl()
    try:
        wait_for(lambda: process.poll() is not None or _answers(pooled_url))
        assert process.poll() is None, "pgbouncer has ended"
        yield pooled_url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False
