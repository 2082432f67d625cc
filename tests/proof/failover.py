"""Kills a primary server under load and promotes its standby, and counts what was lost.

Jobs are enqueued and run by processes that follow a list of hosts. An enqueue that returns is acknowledged.
Before the kill the network between the two servers falls silent for a moment, so that what the primary has
committed alone is lost with it. With synchronous replication it acknowledges nothing meanwhile; without, that
is the loss which the run measures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.project import MANAGE, ROOT, Project, wait_for
from tests.servers import Server, servers
from tests.tcp_proxy import Proxy, proxied

NAME = "shop"

#: Enqueues one job after the other, and writes down the id of each that was acknowledged.
SENDER = """
import sys, time
import django
django.setup()
from django.db import Error, connection
from tests.tasksapp import tasks
path, stop = sys.argv[1:]
import os
with open(path, "a", buffering=1) as file:
    while not os.path.exists(stop):
        try:
            result = tasks.add.enqueue(1, 2)
        except Error:
            connection.close()
            time.sleep(0.05)
        else:
            # By the clock of the row: the reply may have been on its way for some time.
            file.write(f"{result.id} {result.enqueued_at.timestamp()}\\n")
            time.sleep(0.01)
"""


@dataclass
class Report:
    """What a run has found."""

    synchronous: bool
    acknowledged: int = 0
    #: Acknowledged jobs of which the standby has no row.
    lost: int = 0
    #: Jobs whose end the primary had stored, and that ran again.
    repeated: int = 0
    #: Seconds from the kill to the first enqueue that was acknowledged, and to the first job that had ended.
    enqueued_after: float = 0.0
    finished_after: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kind = "synchronous" if self.synchronous else "asynchronous"
        return (
            f"{kind} replication: {self.acknowledged} jobs acknowledged, {self.lost} of them lost, "
            f"{self.repeated} endings lost; enqueues go on after {self.enqueued_after:.2f} s, "
            f"jobs end again after {self.finished_after:.2f} s"
        )


@dataclass
class Failover:
    """One run on two servers."""

    directory: Path
    synchronous: bool
    #: Seconds of load before the kill and after it, and for which the standby receives nothing before it.
    before: float = 4.0
    after: float = 4.0
    silence: float = 0.5

    def run(self) -> Report:
        report = Report(self.synchronous)
        with ExitStack() as stack:
            primary, standby = stack.enter_context(servers(2))
            primary.make()
            primary.value(f"CREATE DATABASE {NAME}")
            network = stack.enter_context(proxied(primary.url()))
            standby.follow(primary, network.url, "standby")
            if self.synchronous:
                primary.value("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
                primary.value("SELECT pg_reload_conf()")
            project = self._project(primary, standby)
            project.run("migrate", "--run-syncdb", "--skip-checks", "--verbosity", "0")
            for number in range(2):
                stack.enter_context(self._worker(project, number))
            sent, stop = self.directory / "sent", self.directory / "stop"
            senders = [stack.enter_context(self._sender(project, sent, stop, n)) for n in range(2)]
            wait_for(lambda: self._finished(primary) > 20, 60)
            time.sleep(self.before)
            killed_at, finished = self._fail(primary, standby, network)
            wait_for(lambda: report.finished_after or self._resumed(standby, report, killed_at), 60)
            time.sleep(self.after)
            stop.touch()
            for sender in senders:
                sender.wait(30)
            self._judge(standby, report, killed_at, finished)
        return report

    def _project(self, primary: Server, standby: Server) -> Project:
        project = Project("postgres", primary.url(NAME), self.directory)
        both = {"HOST": f"{primary.host},{standby.host}", "PORT": f"{primary.port},{standby.port}"}
        options = {"target_session_attrs": "read-write", "connect_timeout": 2}
        project.env["EXTRA_APPS"] = '["tests.hardship"]'
        project.env["HARDSHIP"] = json.dumps({"database": both, "options": options})
        project.env["PYTHONPATH"] = str(ROOT)
        return project

    def _worker(self, project: Project, number: int) -> _Process:
        return _Process(
            [sys.executable, MANAGE, "runworker", "--processes", "2", "--worker-name", f"w{number}"],
            project.env,
            self.directory / f"worker-{number}",
        )

    def _sender(self, project: Project, sent: Path, stop: Path, number: int) -> _Process:
        command = [sys.executable, "-c", SENDER, f"{sent}-{number}", str(stop)]
        return _Process(command, project.env, self.directory / f"sender-{number}")

    def _fail(self, primary: Server, standby: Server, network: Proxy) -> tuple[float, set[str]]:
        """Lose the primary. Return when, and the jobs that had ended there."""
        network.stall(new=True)
        time.sleep(self.silence)
        ended = "SELECT id::text FROM django_tasks_q_job WHERE status = 'SUCCESSFUL'"
        with psycopg.connect(primary.url(NAME)) as connection:
            finished = {id for (id,) in connection.execute(ended)}
        killed_at = time.time()
        primary.kill()
        network.reset()
        standby.promote()
        # Its own standby is gone.
        return killed_at, finished

    def _finished(self, server: Server) -> int:
        return int(server.value("SELECT count(*) FROM django_tasks_q_job WHERE status = 'SUCCESSFUL'", NAME))

    def _resumed(self, standby: Server, report: Report, killed_at: float) -> float:
        statement = (
            "SELECT extract(epoch FROM min(finished_at)) FROM django_tasks_q_job "
            f"WHERE finished_at > to_timestamp({killed_at})"
        )
        at = standby.value(statement, NAME)
        report.finished_after = float(at) - killed_at if at is not None else 0.0
        return report.finished_after

    def _judge(self, standby: Server, report: Report, killed_at: float, finished: set[str]) -> None:
        lines = [
            line.split() for n in range(2) for line in (self.directory / f"sent-{n}").read_text().splitlines()
        ]
        report.acknowledged = len(lines)
        unfinished = "SELECT count(*) FROM django_tasks_q_job WHERE status <> 'SUCCESSFUL'"
        with suppress(AssertionError):
            wait_for(lambda: standby.value(unfinished, NAME) == 0, 90)
        if left := standby.value(unfinished, NAME):
            report.problems.append(f"{left} jobs have not ended")
        statement = "SELECT id::text, extract(epoch FROM finished_at) FROM django_tasks_q_job"
        with psycopg.connect(standby.url(NAME)) as connection:
            stored = {id: float(at or 0) for id, at in connection.execute(statement)}
        resumed = [float(at) for id, at in lines if id in stored and float(at) > killed_at]
        report.enqueued_after = min(resumed) - killed_at
        report.lost = sum(id not in stored for id, _ in lines)
        report.repeated = sum(id in stored and stored[id] > killed_at for id in finished)
        if self.synchronous and report.lost:
            report.problems.append(f"{report.lost} acknowledged jobs were lost")


class _Process:
    """A process with a log, which is killed with all that it has started."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self._stream = log.open("wb")
        self._process = subprocess.Popen(
            command,
            env=env | os.environ | env,
            stdout=self._stream,
            stderr=self._stream,
            start_new_session=True,
        )

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._stream.close()
