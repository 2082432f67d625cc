"""What happens at the named steps of a worker: ``claim.committed=kill@1,finish.sending=stop@2``.

``@n`` is the n-th time that a process comes to the step; left out, the first. Each fault happens once in a
run, whichever process comes first, so that the worker which takes over is spared.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from django.db import OperationalError, connections

from django_tasks_q.failpoints import STEPS


class Point(NamedTuple):
    step: str
    action: str
    number: int


class Points:
    """A handler for ``failpoints.install``."""

    def __init__(self, points: list[Point], marks: Path) -> None:
        self.points = points
        self.marks = marks
        self.counts: Counter[str] = Counter()

    @classmethod
    def read(cls, text: str, marks: str) -> Points:
        points = []
        for item in text.split(","):
            step, _, rest = item.partition("=")
            action, _, number = rest.partition("@")
            assert step in STEPS and action in ACTIONS, item
            points.append(Point(step, action, int(number or 1)))
        return cls(points, Path(marks))

    def __call__(self, step: str) -> None:
        if step == "heartbeat.sending" and not self.counts["claim.committed"]:
            return  # of a worker that has something to lose
        self.counts[step] += 1
        for point in self.points:
            if point.step == step and self.counts[step] >= point.number and self._is_first(point):
                ACTIONS[point.action]()

    def _is_first(self, point: Point) -> bool:
        with suppress(FileExistsError):
            (self.marks / mark(point.step, point.action)).touch(exist_ok=False)
            return True
        return False


def mark(step: str, action: str) -> str:
    """Name of the file that says that a fault has happened."""
    return f"{step}={action}"


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _exit() -> None:
    os._exit(0)


def _raise() -> None:
    raise RuntimeError("a fault")


def _memory() -> None:
    raise MemoryError


def _error() -> None:
    raise OperationalError("a fault of the database")


def _sleep() -> None:
    time.sleep(float(os.environ.get("FAULT_SECONDS", "1")))


def _drop() -> None:
    """Close the database's sockets under Django's connections: their next query fails."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.vendor == "postgresql":
            with socket.socket(fileno=os.dup(connection.connection.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)


def _terminate() -> None:
    """Have the server end the sessions of Django's connections, as an administrator would."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.vendor == "postgresql":
            session = connection.connection.info.backend_pid
            with connection.Database.connect(**connection.get_connection_params()) as administrator:
                ended = administrator.execute("SELECT pg_terminate_backend(%s, 5000)", [session]).fetchone()
            assert ended == (True,)


ACTIONS = {
    "kill": _kill,
    "stop": _stop,
    "exit": _exit,
    "memory": _memory,
    "raise": _raise,
    "error": _error,
    "sleep": _sleep,
    "drop": _drop,
    "terminate": _terminate,
}
