"""The shop as its operators meet it: a command line, workers that are processes, and one database."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).resolve().parent.parent
MARK = "TEST_WORKER"
MANAGE = [sys.executable, str(ROOT / "testproject" / "manage.py")]

T = TypeVar("T")


@dataclass
class Worker:
    """A running ``runworker`` and all that it starts."""

    process: subprocess.Popen[bytes]
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
        found: set[psutil.Process] = set()
        with suppress(psutil.NoSuchProcess):
            found.update(psutil.Process(self.pid).children(recursive=True))
        # An orphan is known by its environment; a zombie has none, and is dead enough.
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.log) and process.pid != self.pid:
                    found.add(process)
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
        done = subprocess.run(
            [*MANAGE, *arguments],
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stderr}"
        return done

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[Worker]:
        """Start ``runworker``. When the block is left, nothing of it is."""
        log = self.directory / f"worker-{len(list(self.directory.glob('worker-*')))}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*MANAGE, "runworker", *arguments],
                env=self.env | {MARK: str(log)},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        worker = Worker(process, log)
        try:
            yield worker
        finally:
            worker.kill()
            # Pytest shows it where the test fails.
            print(f"--- {' '.join(['runworker', *arguments])}\n{worker.output}")

    def wait_for(self, condition: Callable[[], T], timeout: float = 20) -> T:
        return wait_for(condition, timeout)


def wait_for(condition: Callable[[], T], timeout: float = 20) -> T:
    """Ask until the answer is true, and return it: the one way in which a test waits."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still {answer!r} after {timeout} seconds"
        time.sleep(0.02)
    return answer
