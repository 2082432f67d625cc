"""A contender's project, in a folder and a database of its own."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import psutil

from .contenders.base import Contender
from .environments import python_with, version_of
from .scripts import FEED, JOBS, MODELS, SETTINGS, THINGS
from .server import Server

ROOT = Path(__file__).resolve().parent.parent.parent
#: Seconds after which a worker that has not done its jobs will not do them.
PATIENCE = 900
STAMP = struct.Struct("dd")


class Project:
    def __init__(
        self, contender: Contender, folder: Path, server: Server, cache: Path, broker: str = ""
    ) -> None:
        self.contender, self.server, self.broker = contender, server, broker
        self.folder = folder / contender.name
        self.database = contender.name
        self.python = sys.executable
        if contender.requirements:
            self.python = python_with(contender.requirements, contender.package, cache, contender.python)
        self.stamps = self.folder / "stamps"
        self._write()
        if not contender.sqlite:
            server.create(self.database)
        self.admin("migrate", "--verbosity", "0", "--run-syncdb")
        self.run(["things.py"])
        for command in contender.setup:
            self.run(command)

    @property
    def version(self) -> str:
        return version_of(self.python, self.contender.package)

    def _write(self) -> None:
        work = self.folder / "work"
        work.mkdir(parents=True)
        framework = "django.tasks" if django.VERSION >= (6,) else "django_tasks"
        (self.folder / "settings.py").write_text(
            SETTINGS.format(
                apps="".join(f"{app!r}, " for app in self.contender.apps),
                database=repr(self._database()),
                tasks=repr(self.contender.backend),
            )
            + self.contender.settings.replace("BROKER", self.broker)
        )
        (work / "__init__.py").touch()
        tasks = self.contender.tasks.replace("FRAMEWORK", framework).replace("BROKER", self.broker)
        scripts = {"work/models.py": MODELS, "work/jobs.py": JOBS, "work/tasks.py": tasks}
        for path, text in (scripts | {"things.py": THINGS, "feed.py": FEED}).items():
            (self.folder / path).write_text(text)

    def _database(self) -> dict[str, Any]:
        # No host: libpq takes it from the environment, so that a worker can be told another one.
        if self.contender.sqlite:
            return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.folder / "db.sqlite3")}
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self.database,
            "USER": self.server.user,
            "CONN_MAX_AGE": None,
        }

    @property
    def environment(self) -> dict[str, str]:
        path = [str(self.folder), *([] if self.contender.requirements else [str(ROOT)])]
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": os.pathsep.join(path),
            "PATH": os.pathsep.join([str(Path(self.python).parent), os.environ["PATH"]]),
            "BENCH_STAMPS": str(self.stamps),
            "PGHOST": self.server.host,
            "PGUSER": str(self.server.user),
            "PGDATABASE": self.database,
            "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
        }

    def run(self, arguments: list[str]) -> str:
        """Run a script of the project or, by ``-m``, a module; answer what it prints."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode:
            raise RuntimeError(f"{self.contender.name}: {arguments} failed: {done.stderr[-2000:]}")
        return done.stdout

    def admin(self, *arguments: str) -> None:
        self.run(["-m", "django", *arguments])

    def query(self, statement: str) -> tuple[Any, ...]:
        with self.server.connect(self.database) as connection:
            return connection.execute(statement).fetchone() or ()

    def feed(self, mode: str, task: str, *arguments: object) -> Any:
        return json.loads(self.run(["feed.py", mode, task, *map(str, arguments)]))

    def empty(self) -> None:
        """No job is left, finished or not, and all Things are there."""
        self.stamps.unlink(missing_ok=True)
        self.admin("flush", "--no-input", "--verbosity", "0")
        for command in self.contender.emptying:
            self.run(command)
        if not self.contender.sqlite:
            with self.server.connect(self.database) as connection:
                connection.execute("TRUNCATE work_thing RESTART IDENTITY")
                for table in self.contender.tables:
                    connection.execute(f"TRUNCATE {table} CASCADE")
                connection.execute("VACUUM ANALYZE")
            # Otherwise one contender's writes are the next one's checkpoint.
            with self.server.connect() as connection:
                connection.execute("CHECKPOINT")
        self.run(["things.py"])

    def stamped(self) -> list[tuple[float, float]]:
        """The number of each job that began, and when."""
        return list(STAMP.iter_unpack(self.stamps.read_bytes())) if self.stamps.exists() else []

    def begun(self) -> int:
        return self.stamps.stat().st_size // STAMP.size if self.stamps.exists() else 0

    @contextmanager
    def workers(
        self, commands: list[list[str]], prefixes: Sequence[list[str]] = (), **environment: str
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Worker processes that are gone at the end of the block, whatever happens in it."""
        prefixes = prefixes or [[]] * len(commands)
        with (self.folder / "workers.log").open("ab") as log:
            started = [
                subprocess.Popen(
                    [*prefix, self.python, *command],
                    cwd=self.folder,
                    env=self.environment | environment,
                    stdout=log,
                    stderr=log,
                )
                for prefix, command in zip(prefixes, commands, strict=True)
            ]
        try:
            yield started
        finally:
            stop(started)

    def wait_for(self, jobs: int, workers: list[subprocess.Popen[bytes]]) -> None:
        """Until so many jobs have begun. Raises when they never will."""
        until = time.monotonic() + PATIENCE
        while self.begun() < jobs:
            if time.monotonic() > until or all(worker.poll() is not None for worker in workers):
                log = (self.folder / "workers.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.contender.name}: {self.begun()} of {jobs} jobs began. {log}")
            time.sleep(0.05)


def stop(started: list[subprocess.Popen[bytes]]) -> None:
    """Ask for an end, and see to it after some time, down to the last child."""
    trees = [
        process
        for worker in started
        if worker.poll() is None
        for process in psutil.Process(worker.pid).children(recursive=True)
    ]
    for worker in started:
        if worker.poll() is None:
            worker.terminate()
    for worker in started:
        try:
            worker.wait(30)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    for process in trees:
        if process.is_running():
            process.kill()
