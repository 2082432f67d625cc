"""The shop as its operators meet it: a command line, workers that are processes, and one database."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

import psutil

from . import warm

ROOT = Path(__file__).resolve().parent.parent
MANAGE = str(ROOT / "testproject" / "manage.py")

T = TypeVar("T")


@dataclass
class Worker:
    """A running ``runworker`` and all that it starts."""

    process: warm.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has written so far, to both streams."""
        return self.log.read_text()

    def descendants(self) -> set[psutil.Process]:
        """All that it has started and that still lives, also what has lost its parent since."""
        found = warm.starter().orphans()
        with suppress(psutil.NoSuchProcess):
            found.update(psutil.Process(self.pid).children(recursive=True))
        return found

    def stop(self, timeout: float = 15) -> int:
        """Ask for a graceful stop and answer the exit status."""
        self.process.terminate()
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it and its descendants at once, as a lost machine would."""
        # The parent first, so that it cannot replace the others.
        tree = self.descendants()
        self.process.kill()
        self.process.wait()
        for process in tree | self.descendants():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(tree, timeout=5)


@dataclass
class Project:
    alias: str
    database_url: str
    directory: Path

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment of its processes. Tests may add to it before they start one."""
        return os.environ | {
            "DATABASE_URL": self.database_url,
            "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
            "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
            "MEDIA_ROOT": str(self.directory / "media"),
            "PYTHONUNBUFFERED": "1",
        }

    def run(
        self, *arguments: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` to its end."""
        return self._run([MANAGE, *arguments], check, timeout)

    def script(self, code: str, timeout: float = 60) -> str:
        """Run code in the project, and return what it prints."""
        path = self.directory / f"script-{len(list(self.directory.glob('script-*')))}.py"
        path.write_text(f"import django\ndjango.setup()\n{code}")
        return self._run([str(path)], True, timeout).stdout.strip()

    def _run(self, arguments: list[str], check: bool, timeout: float) -> subprocess.CompletedProcess[str]:
        with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            process = self._start(arguments, output, errors)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            for stream in (output, errors):
                stream.seek(0)
            done = subprocess.CompletedProcess(arguments, code, output.read(), errors.read())
        assert not check or code == 0, f"{done.args} ended with {code}:\n{done.stderr}"
        return done

    def _start(self, arguments: Sequence[str], output: IO[Any], errors: IO[Any]) -> warm.Process:
        with Path(os.devnull).open() as nothing:
            return warm.starter().start(
                list(arguments),
                env=self.env,
                cwd=self.directory,
                stdin=nothing,
                stdout=output,
                stderr=errors,
            )

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[Worker]:
        """Start ``runworker``. When the block is left, nothing of it is."""
        with self.program("runworker", *arguments) as worker:
            yield worker

    @contextmanager
    def program(self, *arguments: str) -> Iterator[Worker]:
        """Start ``manage.py``, for a command that runs a worker."""
        log = self.directory / f"worker-{len(list(self.directory.glob('worker-*')))}.log"
        with log.open("wb") as stream:
            process = self._start([MANAGE, *arguments], stream, stream)
        worker = Worker(process, log)
        try:
            yield worker
        finally:
            worker.kill()
            # Pytest shows it where the test fails.
            print(f"--- {' '.join(arguments)}\n{worker.output}")

    def wait_for(self, condition: Callable[[], T], timeout: float = 20) -> T:
        return wait_for(condition, timeout)


def wait_for(condition: Callable[[], T], timeout: float = 20) -> T:
    """Ask until the answer is true, and return it: the one way in which a test waits."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still {answer!r} after {timeout} seconds"
        time.sleep(0.02)
    return answer
