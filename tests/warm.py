"""Starts ``python ...`` a second sooner: by forks of a process that has imported Django, without settings.

Each runner has one such process, ``python -m tests.warm``. It adopts what the processes that it has started
leave behind, so nothing of them can get lost.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import psutil

from django_tasks_q.worker.system import adopt_orphans, die_with_parent

ROOT = Path(__file__).resolve().parent.parent
#: What a worker imports and needs no settings for: nine tenths of the time that it takes to start.
MODULES = (
    "PIL.Image",
    "django.core.management",
    "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.utils",
    "django.db.models.sql.compiler",
    "django.template.defaulttags",
    "django.views.generic",
    "django_stubs_ext",
    "psycopg",
)
#: What Python, or the linker before it, heeds only when it starts.
HEEDED_AT_START = ("LD_", "PYTHON", "LC_", "LANG")
LARGEST_ORDER = 1 << 17  # bytes


class Process:
    """The part of ``subprocess.Popen`` that tests use."""

    def __init__(self, pid: int, status: socket.socket, arguments: list[str]) -> None:
        self.pid = pid
        self.args = arguments
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                told = self._status.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            assert told, "the process that starts the others is gone"
            self.returncode = os.waitstatus_to_exitcode(int(told))
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Starter:
    """The handle of the process that starts the others."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST_ORDER)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._started: list[Process] = []
        atexit.register(self.close)

    def start(
        self,
        arguments: list[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: int | IO[Any],
        stdout: int | IO[Any],
        stderr: int | IO[Any],
    ) -> Process:
        """Start ``python`` with these arguments: the path of a script or ``-m`` and a module, and theirs."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = json.dumps({"arguments": arguments, "env": dict(env), "cwd": str(cwd)}).encode()
        with theirs:
            fds = [fd if isinstance(fd, int) else fd.fileno() for fd in (stdin, stdout, stderr, theirs)]
            socket.send_fds(self._socket, [order], fds)
        process = Process(int(self._socket.recv(64)), ours, arguments)
        self._started = [*(one for one in self._started if one.poll() is None), process]
        return process

    def orphans(self) -> set[psutil.Process]:
        """What lives of all that it has started, less what somebody is still the parent of."""
        everything = set(psutil.Process(self._server.pid).children(recursive=True))
        for process in self._started:
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    head = psutil.Process(process.pid)
                    everything -= {head, *head.children(recursive=True)}
        return everything

    def close(self) -> None:
        self._socket.close()
        self._server.wait(10)


@cache
def starter() -> Starter:
    """The one of this runner."""
    return Starter()


class Server:
    """What runs in the process that starts the others."""

    def __init__(self, orders: socket.socket) -> None:
        self.orders = orders
        #: Where the end of each process is waited for.
        self.statuses: dict[int, int] = {}

    def serve(self) -> dict[str, Any] | None:
        """Fork until nobody is there to order it. In each fork, answers what it is to become."""
        wakeup, signalled = socket.socketpair()
        for end in (wakeup, signalled):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(signalled.fileno())
        with selectors.DefaultSelector() as selector, wakeup, signalled:
            selector.register(self.orders, selectors.EVENT_READ)
            selector.register(wakeup, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is wakeup:
                        wakeup.recv(4096)
                        self.reap()
                        continue
                    message, fds, _, _ = socket.recv_fds(self.orders, LARGEST_ORDER, 4)
                    if not message:
                        return None
                    if self.fork(fds):
                        signal.set_wakeup_fd(-1)
                        return json.loads(message)  # type: ignore[no-any-return]

    def fork(self, fds: list[int]) -> bool:
        """Answers whether this is the fork."""
        *streams, status = fds
        starter = os.getpid()
        pid = os.fork()
        if pid:
            self.statuses[pid] = status
            for fd in streams:
                os.close(fd)
            self.orders.send(str(pid).encode())
            return False
        die_with_parent(starter)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        for fd in (*fds, *self.statuses.values()):
            os.close(fd)
        self.orders.close()
        return True

    def reap(self) -> None:
        """Tell of those that have ended. What was adopted has nobody to be told."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in self.statuses:
                    fd = self.statuses.pop(pid)
                    with suppress(OSError):
                        os.write(fd, str(status).encode())
                    os.close(fd)


def become(order: dict[str, Any]) -> None:
    """Do what ``python`` would do with these arguments, and end as it would."""
    os.chdir(order["cwd"])
    arguments, env = order["arguments"], order["env"]
    if needs_a_start(env):
        os.execve(sys.executable, [sys.executable, *arguments], env)
    os.environ.clear()
    os.environ.update(env)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the streams of a process
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def needs_a_start(env: dict[str, str]) -> bool:
    """Whether something in it would come too late for this process."""
    changed = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
    return any(name.startswith(HEEDED_AT_START) for name in changed)


def main() -> None:
    adopt_orphans()
    for module in MODULES:
        import_module(module)
    gc.freeze()  # or the forks would go through it all, and copy it
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        order = Server(orders).serve()
    if order:
        become(order)


if __name__ == "__main__":
    main()
