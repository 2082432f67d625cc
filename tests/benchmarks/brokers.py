"""The brokers that some peers need: private, on loopback, gone with the run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

#: Seconds a broker has to open its port.
PATIENCE = 60
#: Debian's launcher on the path changes to another user, whose files these are not.
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    port = _free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    with _serving(command, port, dict(os.environ), folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    port, distribution, mapper = _free_port(), _free_port(), _free_port()
    home = folder / "rabbitmq"
    home.mkdir()
    environment = os.environ | {
        "HOME": str(home),
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper),
    }
    try:
        with _serving([RABBITMQ], port, environment, home / "out"):
            yield f"amqp://guest:guest@127.0.0.1:{port}"
    finally:
        # Erlang's port mapper is started in passing, and outlives who started it.
        subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, check=False)


BROKERS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {"redis": redis, "rabbitmq": rabbitmq}


@contextmanager
def _serving(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[None]:
    if not shutil.which(command[0]):
        raise OSError(f"{Path(command[0]).name} is not installed")
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_for(server, port)
        yield
    finally:
        _end(server)


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{server.args[0]} did not open its port")


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
