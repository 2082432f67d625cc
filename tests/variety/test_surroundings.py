"""Places that workers live in, and what goes on around them: a job before, the trouble, a job after.

Nothing is lost, double or stuck, and what the worker says of it is one line.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from django_tasks_q.models import Attempt, Job, Worker

from .. import warm
from ..project import ROOT, wait_for
from ..project import Worker as Process
from ..tasksapp import tasks
from ..tasksapp.models import Effect
from .places import IMPOSSIBLE

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make this place")
ROLE = "variety_worker"


@contextmanager
def placed(project, places, *arguments):
    """A worker in a place. When the block is left, nothing of it is."""
    log = project.directory / f"placed-{len(list(project.directory.glob('placed-*')))}.log"
    with log.open("wb") as stream, Path(os.devnull).open() as nothing:
        process = warm.starter().start(
            ["-m", "tests.variety.places", *places, "--", "runworker", *arguments],
            env=project.env,
            cwd=project.directory,
            stdin=nothing,
            stdout=stream,
            stderr=stream,
        )
    worker = Process(process, log)
    try:
        yield worker
    finally:
        worker.kill()
        print(f"--- {places}\n{worker.output}")


def done(worker, *results, timeout=30):
    """Wait until jobs have ended, or the worker has."""

    def look():
        if worker.process.poll() == IMPOSSIBLE:
            pytest.skip(f"this machine does not allow it: {worker.output}")
        assert worker.process.poll() is None, worker.output
        for result in results:
            result.refresh()
        return all(result.is_finished for result in results)

    wait_for(look, timeout)


def all_is_well(*keys, attempts=1):
    """Every job has run, once, and nothing else has."""
    assert sorted(Effect.objects.values_list("key", flat=True)) == sorted(keys)
    assert not Job.objects.exclude(status="SUCCESSFUL", attempts=attempts, crashes=0).exists()
    assert not Attempt.objects.exists()


def left(worker, *statuses):
    """Stop it, as its supervisor would."""
    assert worker.stop() in (0, *statuses), worker.output
    assert "Traceback" not in worker.output
    assert Worker.objects.filter(stopped_at__isnull=True).count() == 0


PLACES = [
    pytest.param(["pid_1"], marks=needs_root),
    pytest.param(["pid_1", "homeless", "stranger"], marks=needs_root),
    pytest.param(["homeless", "stranger", "no_temporary"], marks=needs_root),
    pytest.param(["read_only", "homeless", "stranger"], marks=needs_root),
    ["few_descriptors"],
    ["no_prctl"],
    ["deaf"],
    ["no_streams"],
    ["full_log"],
    ["no_folder"],
    ["ascii_only"],
]


@pytest.mark.parametrize("places", PLACES, ids="-".join)
def test_a_worker_lives_in(project, places):
    if project.alias != "postgres":
        pytest.skip("one database shows it, and a file would have to be writable")
    if "stranger" in places:
        open_to_strangers(project)
    before = [
        tasks.leave.enqueue("before"),
        tasks.leave_in_thread.enqueue("thread"),
        tasks.leave_async.enqueue("loop"),
    ]
    processes = "12" if "few_descriptors" in places else "2"
    with placed(project, places, "--processes", processes, "--threads", "2") as worker:
        done(worker, *before)
        after = [tasks.leave.enqueue(f"after {number}") for number in range(5)]
        done(worker, *after)
        # The last one is Python's own word for streams that it could not flush at its end.
        left(worker, *([120] if "full_log" in places else []))
    all_is_well("before", "thread", "loop", *(f"after {number}" for number in range(5)))


def open_to_strangers(project):
    project.directory.chmod(0o777)
    for folder in project.directory.parents:
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)


# The database, in the hands of an administrator


@contextmanager
def role(project, *statements):
    """The worker logs in as a role of its own, with all rights on the tables. Yields the administrator."""
    name = urlsplit(project.database_url).path.lstrip("/")
    with psycopg.connect(project.database_url, autocommit=True) as administrator:
        administrator.execute(f"DROP ROLE IF EXISTS {ROLE}")
        administrator.execute(f"CREATE ROLE {ROLE} LOGIN")
        for statement in (
            f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {ROLE}",
            f"GRANT USAGE ON SCHEMA public TO {ROLE}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}",
            *statements,
        ):
            administrator.execute(statement.format(role=ROLE, database=name))
        parts = urlsplit(project.database_url)
        project.env["DATABASE_URL"] = parts._replace(
            netloc=f"{ROLE}:@{parts.netloc.rpartition('@')[2]}"
        ).geturl()
        try:
            yield administrator
        finally:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE]
            )
            administrator.execute(f"DROP OWNED BY {ROLE}")
            administrator.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def postgres(project):
    if project.alias != "postgres":
        pytest.skip("only a server has roles")
    project.env["TASKS_OPTIONS"] = json.dumps({"LEASE": 10})
    return project


def test_rights_that_are_revoked_and_granted_again(postgres):
    with role(postgres) as administrator, postgres.worker("--processes", "1") as worker:
        before = tasks.leave.enqueue("before")
        done(worker, before)
        for right in ("UPDATE", "SELECT, UPDATE", "ALL"):
            administrator.execute(f"REVOKE {right} ON django_tasks_q_job FROM {ROLE}")
            during = tasks.leave.enqueue(f"during {right}")
            wait_for(lambda: "permission denied" in worker.output)
            administrator.execute(f"GRANT ALL ON django_tasks_q_job TO {ROLE}")
            done(worker, during)
        left(worker)
        all_is_well("before", "during UPDATE", "during SELECT, UPDATE", "during ALL")


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}", "permission denied for table"),
        ("REVOKE ALL ON django_migrations FROM {role}", "permission denied for table django_migrations"),
        ("REVOKE INSERT ON django_tasks_q_worker FROM {role}", "denied for table django_tasks_q_worker"),
        ("REVOKE USAGE ON SCHEMA public FROM {role}, PUBLIC", "USAGE on the schema of the tables"),
    ],
)
def test_a_right_that_is_missing_is_named(postgres, statement, names):
    with role(postgres, statement) as administrator:
        try:
            ended = postgres.run("runworker", "--batch", check=False)
        finally:
            administrator.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    assert ended.returncode == 1
    assert names in ended.stderr
    assert "lacks a privilege" in ended.stderr
    assert "migrate" not in ended.stderr.replace("django_migrations", "")
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_role_with_a_statement_timeout(postgres):
    """It is for the web; here it also cuts off a statement that waits for a row."""
    setting = "ALTER ROLE {role} SET statement_timeout = '300ms'"
    with role(postgres, setting) as administrator, postgres.worker("--processes", "1") as worker:
        before = tasks.leave.enqueue("before")
        done(worker, before)
        with administrator.transaction():
            administrator.execute("LOCK TABLE django_tasks_q_job IN ACCESS EXCLUSIVE MODE")
            wait_for(lambda: "statement timeout" in worker.output)
        after = tasks.leave.enqueue("after")
        done(worker, after)
        left(worker)
        all_is_well("before", "after")


@pytest.mark.parametrize(
    "setting",
    [
        "idle_session_timeout = '500ms'",
        "idle_in_transaction_session_timeout = '500ms'",
        "lock_timeout = '300ms'",
    ],
)
def test_a_role_with_impatient_settings(postgres, setting):
    with role(postgres, f"ALTER ROLE {{role}} SET {setting}"), postgres.worker("--processes", "1") as worker:
        before = tasks.leave.enqueue("before")
        done(worker, before)
        naps = [tasks.sleep.enqueue(0.7) for _ in range(2)]
        done(worker, *naps)
        after = tasks.leave.enqueue("after")
        done(worker, after)
        left(worker)
        all_is_well("before", "after")


def test_no_connection_is_left_for_a_while(postgres):
    limit = "ALTER ROLE {role} CONNECTION LIMIT 6"
    with role(postgres, limit) as administrator, postgres.worker("--processes", "2") as worker:
        before = tasks.leave.enqueue("before")
        done(worker, before)
        # Sessions end, and others take their places before the worker is back.
        administrator.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
        administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE]
        )
        during = tasks.leave.enqueue("during")
        wait_for(lambda: "cannot be used" in worker.output)
        administrator.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 6")
        done(worker, during)
        after = tasks.leave.enqueue("after")
        done(worker, after)
        left(worker)
        all_is_well("before", "during", "after")


def test_a_database_that_becomes_read_only(postgres):
    """As a former primary does in a switch-over."""
    name = urlsplit(postgres.database_url).path.lstrip("/")
    with role(postgres) as administrator, postgres.worker("--processes", "1") as worker:
        before = tasks.leave.enqueue("before")
        done(worker, before)
        administrator.execute(f"ALTER ROLE {ROLE} IN DATABASE {name} SET default_transaction_read_only = on")
        administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [ROLE]
        )
        during = tasks.leave.enqueue("during")
        wait_for(lambda: "cannot be used" in worker.output)
        administrator.execute(f"ALTER ROLE {ROLE} IN DATABASE {name} RESET default_transaction_read_only")
        done(worker, during)
        left(worker)
        all_is_well("before", "during")


# Those that enqueue


SERVERS = {
    "gunicorn, sync": ["-m", "gunicorn", "--preload", "--workers", "2", "--bind", "unix:{socket}"],
    "gunicorn, threads": [
        "-m",
        "gunicorn",
        "--preload",
        "--workers",
        "2",
        "--threads",
        "4",
        "--bind",
        "unix:{socket}",
    ],
    "gunicorn, gevent": [
        "-c",  # patched before all else is loaded, as gevent asks for
        "from gevent import monkey; monkey.patch_all(); from gunicorn.app.wsgiapp import run; run()",
        "--preload",
        "--workers",
        "2",
        "-k",
        "gevent",
        "--bind",
        "unix:{socket}",
    ],
    "uwsgi": [
        "-c",  # -m takes modules that are written in Python only
        "import pyuwsgi, sys; pyuwsgi.run(sys.argv[1:])",
        "--master",
        "--die-on-term",
        "--processes",
        "2",
        "--http-socket",
        "{socket}",
        "--module",
        "{module}",
    ],
}


class Socket(http.client.HTTPConnection):
    """A connection by a socket that has a path."""

    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@pytest.mark.parametrize("server", SERVERS)
def test_jobs_that_a_preloading_server_enqueues_are_run(project, server):
    pytest.importorskip("pyuwsgi" if server == "uwsgi" else "gunicorn")
    if server.endswith("gevent"):
        pytest.importorskip("gevent.events")
    path, module = project.directory / "socket", "tests.variety.site:application"
    words = [word.format(socket=path, module=module) for word in SERVERS[server]]
    words += [] if server == "uwsgi" else [module]
    keys = [f"request {number}" for number in range(24)]

    def ask(key):
        with closing(Socket(path)) as connection:
            connection.request("GET", f"/{quote(key)}")
            answer = connection.getresponse()
            assert answer.status == 200
            return int(answer.read())

    log = project.directory / "server.log"
    with log.open("wb") as stream, project.worker("--processes", "1") as worker:
        serving = subprocess.Popen(
            [sys.executable, *words], env=project.env, cwd=ROOT, stdout=stream, stderr=stream
        )
        try:
            wait_for(lambda: path.exists() or serving.poll() is not None)
            with ThreadPoolExecutor(4) as pool:
                assert set(pool.map(ask, keys)) - {serving.pid}
            wait_for(lambda: Effect.objects.count() == len(keys) + 1)
        finally:
            serving.terminate()
            status = serving.wait(20)
            print(log.read_text())
        assert status == 0
        assert "Traceback" not in log.read_text()
        left(worker)
    all_is_well("preloaded", *keys)
