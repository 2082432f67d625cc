"""``python -m tests.benchmarks.scaling``: what a job costs a PostgreSQL server, and what larger ones carry.

Rows and bytes are those of the tables, WAL is the difference of pg_current_wal_lsn(), and processor time is
that of the server's processes. What larger servers carry is calculated from the processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from tests.project import MANAGE, ROOT
from tests.servers import Server, servers

NAME = "scaling"
#: The cores of the servers that are calculated, and the share of them that jobs may use: the rest is for
#: vacuum, checkpoints, replication and peaks.
CORES, SHARE = (8, 32, 96), 0.6
OPTIONS = {
    "TASK_MODULES": ["tests.benchmarks.scaling_tasks"],
    "EXCLUDE_TASK_MODULES": ["tests.tasksapp.tasks", "testproject.shop.tasks"],
}
TABLES = ("job", "attempt", "statistic")


@dataclass
class Cost:
    """What one step has cost the server for each job."""

    name: str
    cpu: float
    wal: float
    rate: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    with servers(1) as (server,):
        server.make(shared_buffers="512MB", max_wal_size="4GB")
        server.value(f"CREATE DATABASE {NAME}")
        os.environ |= {
            "DATABASE_URL": server.url(NAME),
            "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
            "PYTHONPATH": str(ROOT),
            "TASKS_OPTIONS": json.dumps(OPTIONS),
        }
        import django

        django.setup()
        report = Run(server, arguments.jobs, arguments.processes)
        print("\n".join(report.lines()), flush=True)
    return 0


class Run:
    """One run of all steps on a server."""

    def __init__(self, server: Server, jobs: int, processes: int) -> None:
        self._server, self._jobs, self._processes = server, jobs, processes
        self._costs: list[Cost] = []
        self._size_lines: list[str] = []

    def lines(self) -> Iterator[str]:
        from django.core.management import call_command

        call_command("migrate", run_syncdb=True, skip_checks=True, verbosity=0)
        version = self._server.value("SHOW server_version")
        yield f"PostgreSQL {version}, {os.cpu_count()} cores, {self._jobs:,} jobs that do nothing."
        yield ""
        yield from self._steps()
        yield ""
        yield from self._size_lines
        yield ""
        yield from self._capacities()

    def _steps(self) -> Iterator[str]:
        from tests.benchmarks import scaling_tasks as tasks

        yield "| Step | µs of the server's processor time a job | bytes of WAL a job | jobs a second here |"
        yield "|---|--:|--:|--:|"
        single = self._jobs // 10
        for _ in range(10):
            tasks.noop.enqueue()  # the session is warm, and its statements are prepared
        with self._measured("Enqueue, one a transaction", single):
            for _ in range(single):
                tasks.noop.enqueue()
        yield self._row()
        with self._measured("`enqueue_many()` of 1,000", self._jobs):
            for _ in range(self._jobs // 1000):
                tasks.noop.enqueue_many([()] * 1000)
        yield self._row()
        with self._measured("Run, from a full queue", self._jobs + single + 10):
            self._worker("--batch").wait()
        yield self._row()
        with self._measured("Vacuum", self._jobs):
            self._server.value("VACUUM ANALYZE", NAME)
        yield self._row()
        with self._measured("Enqueue and run, one a time", single):
            self._trickle(single)
        yield self._row()
        self._size_lines = list(self._sizes())
        with self._measured("Prune", self._jobs):
            self._prune()
        yield self._row()

    def _sizes(self) -> Iterator[str]:
        total = self._server.value("SELECT count(*) FROM django_tasks_q_job", NAME)
        yield "| Table | rows a job | bytes a job, of which indexes |"
        yield "|---|--:|--:|"
        for table in TABLES:
            name = f"django_tasks_q_{table}"
            rows = self._server.value(f"SELECT count(*) FROM {name}", NAME)
            size = self._server.value(f"SELECT pg_total_relation_size('{name}')", NAME)
            indexes = self._server.value(f"SELECT pg_indexes_size('{name}')", NAME)
            yield f"| {table} | {rows / total:.3f} | {size / total:,.0f}, {indexes / total:,.0f} |"

    def _capacities(self) -> Iterator[str]:
        known = {cost.name: cost for cost in self._costs}
        housekeeping = known["Vacuum"].cpu + known["Prune"].cpu
        full = known["`enqueue_many()` of 1,000"].cpu + known["Run, from a full queue"].cpu + housekeeping
        mixed = known["Enqueue, one a transaction"].cpu + known["Run, from a full queue"].cpu + housekeeping
        alone = known["Enqueue and run, one a time"].cpu + housekeeping
        yield "| Cores | in bulk | enqueued one by one, run in batches | enqueued and run one by one |"
        yield "|--:|--:|--:|--:|"
        for cores in CORES:
            rates = (f"{round(SHARE * cores / each, -2):,.0f}" for each in (full, mixed, alone))
            yield f"| {cores} | {' | '.join(rates)} |"

    def _row(self) -> str:
        cost = self._costs[-1]
        return f"| {cost.name} | {cost.cpu * 1e6:,.0f} | {cost.wal:,.0f} | {cost.rate:,.0f} |"

    @contextmanager
    def _measured(self, name: str, jobs: int) -> Iterator[None]:
        self._server.value("CHECKPOINT")  # so that each step pays for as many whole pages as the others
        position, cpu, began = self._wal(), self._cpu(), time.perf_counter()
        yield
        took = time.perf_counter() - began
        self._costs.append(
            Cost(name, (self._cpu() - cpu) / jobs, (self._wal() - position) / jobs, jobs / took)
        )

    def _wal(self) -> int:
        return int(self._server.value("SELECT pg_current_wal_lsn() - '0/0'"))

    def _cpu(self) -> float:
        """Seconds of all processes that the server has had."""
        postmaster, *others = self._server.processes()
        times = postmaster.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for process in others:
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:2])
        return float(total)

    def _worker(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, MANAGE, "runworker", "--processes", str(self._processes), *options]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _trickle(self, jobs: int) -> None:
        """Enqueue one job at a time, each when the one before has ended."""
        from django_tasks_q.models import Job
        from tests.benchmarks import scaling_tasks as tasks

        worker = self._worker()
        try:
            for _ in range(jobs):
                tasks.noop.enqueue()
                time.sleep(0.005)
            while Job.objects.exclude(status="SUCCESSFUL").exists():
                time.sleep(0.1)
        finally:
            worker.terminate()
            worker.wait()

    def _prune(self) -> None:
        from django_tasks_q.lifecycle.states import FINAL
        from django_tasks_q.storage import storage_for

        while storage_for("default").maintenance.prune("default", FINAL, -1.0):
            pass


if __name__ == "__main__":
    sys.exit(main())
