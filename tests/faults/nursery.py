"""Forks workers from a process that has imported all they need: a start costs little, and faults are many.

``python -m tests.faults.nursery`` reads an order a line and answers each with the id of a new process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

import psutil
from django.core.management import execute_from_command_line

from django_tasks_q.worker.system import die_with_parent

from .. import warm

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Fork:
    """A process that came from the nursery, and what it has started."""

    process: psutil.Process | None
    log: Path

    @classmethod
    def of(cls, pid: int, log: Path) -> Fork:
        try:
            return cls(psutil.Process(pid), log)
        except psutil.NoSuchProcess:
            return cls(None, log)

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.is_running()

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def tree(self) -> list[psutil.Process]:
        """The process and its descendants, itself first; those that live."""
        with suppress(psutil.NoSuchProcess):
            if self.process is not None:
                return [self.process, *self.process.children(recursive=True)]
        return []

    def send(self, number: int) -> None:
        with suppress(psutil.NoSuchProcess):
            if self.process is not None:
                self.process.send_signal(number)

    def freeze(self) -> None:
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Children first, so that their answers are there when the parent looks."""
        for process in reversed(self.tree()):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self) -> None:
        """End all of it, as a lost machine would."""
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()


class Nursery:
    """The handle of a nursery process."""

    def __init__(self, control: IO[str], answers: IO[str], folder: Path) -> None:
        self.control, self.answers = control, answers
        self.folder = folder
        self.forks: list[Fork] = []

    def fork(self, target: str, *arguments: object, env: Mapping[str, str] | None = None) -> Fork:
        """Call a function, named as ``module:function``, in a process of its own."""
        log = self.folder / f"fork-{len(self.forks)}.log"
        order = {"target": target, "arguments": arguments, "env": dict(env or {}), "log": str(log)}
        self.control.write(json.dumps(order) + "\n")
        self.control.flush()
        log.touch()
        fork = Fork.of(int(self.answers.readline()), log)
        self.forks.append(fork)
        return fork

    def worker(self, *arguments: str, env: Mapping[str, str] | None = None) -> Fork:
        return self.fork(f"{__name__}:command", "runworker", *arguments, env=env)


def command(*arguments: str) -> None:
    """A command as it is from a terminal. Called in a program, a worker would have a process of its own."""
    execute_from_command_line(["manage.py", *arguments])


@contextmanager
def nursery(env: Mapping[str, str], folder: Path) -> Iterator[Nursery]:
    """A nursery for processes with these settings. When the block is left, nothing of them is."""
    (its_orders, control), (answers, its_answers) = os.pipe(), os.pipe()
    process = warm.starter().start(
        ["-m", "tests.faults.nursery"], env=env, cwd=ROOT, stdin=its_orders, stdout=its_answers, stderr=2
    )
    for fd in (its_orders, its_answers):
        os.close(fd)
    with os.fdopen(answers) as answering, os.fdopen(control, "w") as ordering:
        opened = Nursery(ordering, answering, folder)
        try:
            yield opened
        finally:
            for fork in opened.forks:
                fork.kill()
            ordering.close()
            process.wait(10)


def main() -> None:
    import django

    django.setup()
    import django.core.management.commands

    import django_tasks_q.management.commands.runworker  # noqa: F401

    # Nobody asks how they ended; the processes themselves must be able to ask that of theirs.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        print(pid, flush=True)


def _become(order: dict) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(os.getppid())
        os.environ.update(order["env"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(fd, target)
        os.close(log)
        os.close(nothing)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - not the nursery's, which has read ahead
        from .apps import equip

        equip()
        module, _, function = order["target"].partition(":")
        getattr(__import__(module, fromlist=[function]), function)(*order["arguments"])
        code = 0
    except SystemExit as error:  # of a command that cannot do what it was asked for
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
