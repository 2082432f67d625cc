"""Whatever happens to the database, and to the way to it, the worker goes on and no job is lost."""

import json
import os
import subprocess
import time
from contextlib import contextmanager, suppress

import psutil
import pytest
from django.db import Error, OperationalError, connections

from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.storage import storage_for
from testproject.settings import database

from . import databases
from .conftest import Router
from .hardship import tasks as hard
from .private_postgres import PrivatePostgres
from .project import Project
from .tasksapp import tasks
from .tcp_proxy import proxied


def options(project, **values):
    project.env["TASKS_OPTIONS"] = json.dumps({name.upper(): value for name, value in values.items()})


def hardship(project, **values):
    project.env |= {"EXTRA_APPS": '["tests.hardship"]', "HARDSHIP": json.dumps(values)}


def all_succeeded(count):
    return Job.objects.filter(status="SUCCESSFUL").count() == count


def only(project, *aliases):
    if project.alias not in aliases:
        pytest.skip(f"not for {project.alias}")


@contextmanager
def started(project, *arguments, failures=False):
    """A worker that is known to work. Tasks that fail leave a traceback in its log."""
    with project.worker("--processes", "1", *arguments) as worker:
        project.wait_for(lambda: tasks.noop.enqueue().get(timeout=20) is None)
        yield worker
        assert worker.process.poll() is None
        assert failures or "Traceback" not in worker.output


# The way to the server


def listens(link):
    return b"LISTEN" in link.said


def test_a_silent_connection_is_replaced_while_the_lease_lasts(project, tmp_path):
    only(project, "postgres", "mariadb")
    options(project, lease=10, grace=0.2)
    go, mark, other = tmp_path / "go", tmp_path / "mark", tmp_path / "other"
    with proxied(project.database_url) as proxy:
        project.env["DATABASE_URL"] = proxy.url
        with started(project) as worker:
            running = tasks.wait_for_file.enqueue(str(go), str(mark))
            project.wait_for(mark.exists)
            proxy.stall()
            silent_at = time.monotonic()
            waiting = tasks.wait_for_file.enqueue(str(go), str(other))
            go.touch()
            running.get(timeout=20)
            waiting.get(timeout=20)
            # The fifth of a lease, which the connection is given, and the sixth until it is used. A driver
            # that heeds no signal begins its own fifth anew when the alarm rings.
            fifths = 2 if project.alias == "mariadb" else 1
            assert time.monotonic() - silent_at < 10 * (fifths / 5 + 1 / 6) + 2
            assert "No answer within 2 seconds" in worker.output or project.alias == "mariadb"
            assert worker.output.count("cannot be used") == 1
            assert "can be used again" in worker.output
    assert Worker.objects.count() == 1
    assert not Job.objects.exclude(fence=1).exists()


def test_connections_that_are_cut_under_load_cost_no_job(project):
    only(project, "postgres", "mariadb")
    with proxied(project.database_url) as proxy:
        project.env["DATABASE_URL"] = proxy.url
        with started(project) as worker:
            Job.objects.all().delete()
            tasks.noop.enqueue_many([()] * 3000)
            for share in (200, 800, 1500, 2200):
                project.wait_for(
                    lambda share=share: Job.objects.filter(status="SUCCESSFUL").count() >= share, 30
                )
                proxy.reset()
            project.wait_for(lambda: all_succeeded(3000), 40)
            assert "lost its lease" not in worker.output
    assert not Job.objects.exclude(crashes=0, attempts=1).exists()


def test_a_half_open_listener_costs_a_poll_and_is_replaced(project):
    only(project, "postgres")
    short = {f"django_tasks_q.worker.wakeup.{name}": 0.5 for name in ("VERIFY", "PROOF", "RELISTEN")}
    # By itself the worker would not look before the test is over.
    rare = {
        "django_tasks_q.worker.wakeup.STREAM": 0.0,
        "django_tasks_q.worker.wakeup.LOST_NOTIFICATION": 60.0,
    }
    hardship(project, constants=short | rare)
    with proxied(project.database_url) as proxy:
        project.env["DATABASE_URL"] = proxy.url
        with started(project) as worker:
            project.wait_for(lambda: any(listens(link) for link in proxy.links))
            time.sleep(1.5)  # until it is sure of its hints, and rests: nothing tells of that
            proxy.stall(listens)
            tasks.noop.enqueue().get(timeout=15)
            project.wait_for(lambda: "Lost the connection that notifications arrive by" in worker.output)
            project.wait_for(lambda: any(listens(link) and not link.stalled for link in proxy.links), 10)
            assert "cannot be used" not in worker.output


def test_an_end_of_all_sessions_under_load_costs_no_job(project):
    only(project, "postgres")
    with started(project, "--processes", "2"), connections["postgres"].cursor() as cursor:
        Job.objects.all().delete()
        tasks.noop.enqueue_many([()] * 3000)
        for _ in range(10):
            done = Job.objects.filter(status="SUCCESSFUL").count()
            project.wait_for(
                lambda done=done: Job.objects.filter(status="SUCCESSFUL").count() >= min(3000, done + 100), 30
            )
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        project.wait_for(lambda: all_succeeded(3000), 40)
    assert not Job.objects.exclude(crashes=0).exists()


def test_a_claim_whose_reply_was_lost_is_given_back(project):
    options(project, lease=2)
    with started(project):
        result = tasks.noop.using(queue_name="lost").enqueue()
        Job.objects.filter(id=result.id).update(
            status="RUNNING", fence=7, attempts=1, worker_id=Worker.objects.get().id
        )
        # The worker cannot have it in hand: it was never given it.
        result.get(timeout=10)
    job = Job.objects.get(id=result.id)
    assert (job.attempts, job.crashes, job.fence > 7) == (1, 0, True)
    assert not Attempt.objects.exists()


# The server


@pytest.fixture(scope="module")
def server():
    server = PrivatePostgres(
        databases.directory() / f"private_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    )
    yield server
    server.close()


@pytest.fixture
def private_project(settings, tmp_path, django_db_blocker):
    """Makes the shop on a database of the test's own; the test's queries go there too."""

    def make(url, **database_options):
        config = database(url)
        config["OPTIONS"] = config.get("OPTIONS", {}) | database_options
        connections.settings["private"] = connections.configure_settings({"default": config})["default"]
        storage_for.cache_clear()
        project = Project("private", url, tmp_path)
        hardship(project, options=database_options)
        project.run("migrate", "--run-syncdb", "--skip-checks", "--verbosity", "0")
        return project

    settings.DATABASE_ROUTERS = [Router("private")]
    task_options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "private"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": task_options}}
    with django_db_blocker.unblock():
        yield make
        connections["private"].close()
    storage_for.cache_clear()
    del connections["private"]
    del connections.settings["private"]


@pytest.fixture
def private(server, private_project):
    """The shop on a server that the test may stop."""
    if not server.is_running:
        server.start()
    server.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)", "CREATE DATABASE shop")
    return private_project(server.url("shop"))


def answers(condition):
    """A condition of the database, false while that does not answer."""

    def ask():
        try:
            return condition()
        except Error:
            connections["private"].close()
            return False

    return ask


def test_a_server_that_crashes_and_stays_away_is_waited_for(private, server, tmp_path):
    options(private, lease=3, grace=0.2)
    hardship(
        private,
        constants={
            "django_tasks_q.worker.outage.LOG_AGAIN": 2.0,
            "django_tasks_q.worker.wakeup.RELISTEN": 0.5,
        },
    )
    mark, never = tmp_path / "mark", tmp_path / "never"
    with started(private, "--processes", "3", failures=True) as worker:
        # It crashes under load and comes back at once.
        tasks.noop.enqueue_many([()] * 2000)
        private.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() >= 200)
        server.stop("immediate")
        server.start()
        private.wait_for(answers(lambda: all_succeeded(2001)), 30)
        private.wait_for(lambda: "can be used again" in worker.output)
        # Hints come again, and the first of them is no more than the second look after that.
        private.wait_for(lambda: listeners() == 1, 15)
        said, lost = worker.output.count("cannot be used"), worker.output.count("lost its lease")

        # It stays away for longer than the lease.
        long = tasks.wait_for_file.enqueue(str(never), str(mark))
        stubborn = tasks.spin.using(timeout=1.0).enqueue("stubborn")
        private.wait_for(lambda: Job.objects.get(id=stubborn.id).status == "RUNNING")
        private.wait_for(mark.exists)
        first_pid = int(mark.read_text())
        children = worker.descendants()
        connections["private"].close()
        server.stop("immediate")
        away_at = time.monotonic()
        with pytest.raises(OperationalError):  # never a silent drop
            tasks.noop.enqueue()
        # Deadlines hold in the meantime, and the lease's end kills what others may be running.
        private.wait_for(lambda: not all(map(alive, children)))
        assert alive(psutil.Process(first_pid))
        assert worker.output.count("lost its lease") == lost
        private.wait_for(lambda: worker.output.count("lost its lease") == lost + 1)
        private.wait_for(lambda: not psutil.pid_exists(first_pid))
        private.wait_for(lambda: time.monotonic() - away_at > 4, 10)
        never.touch()
        server.start()
        private.wait_for(answers(lambda: Job.objects.get(id=long.id).is_finished), 20)
        private.wait_for(answers(lambda: Job.objects.get(id=stubborn.id).is_finished), 20)
        lines = worker.output.count("cannot be used") - said
        assert 2 <= lines <= 1 + (time.monotonic() - away_at) / 2
        tasks.noop.enqueue().get(timeout=10)
    job = Job.objects.get(id=long.id)
    assert (job.status, job.attempts) == ("SUCCESSFUL", 1)
    assert [attempt.outcome for attempt in Attempt.objects.filter(job_id=long.id)] == ["rescued"]
    assert Worker.objects.count() == lost + 2


def alive(process):
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@answers
def listeners():
    with connections["private"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")
        return cursor.fetchone()[0]


@contextmanager
def small_disk(path, size, owner=None):
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.decode().strip()}")
    try:
        if owner:
            subprocess.run(["chown", owner, str(path)], check=True)
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_of_the_server_costs_time_only(private, server, tmp_path):
    path = server.directory.parent / "tablespace"
    with small_disk(path, "24m", server.user) as disk:
        try:
            server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            with connections["private"].cursor() as cursor:
                cursor.execute("ALTER TABLE django_tasks_q_job SET TABLESPACE small")
                cursor.execute("ALTER TABLE django_tasks_q_attempt SET TABLESPACE small")
            _run_out_of_space(private, disk, tmp_path, chunk=1024 * 1024)
        finally:
            connections["private"].close()
            server.execute("DROP DATABASE shop WITH (FORCE)", "DROP TABLESPACE IF EXISTS small")
            path.rmdir() if not path.is_mount() else None


def test_a_full_disk_under_sqlite_costs_time_only(private_project, tmp_path):
    with small_disk(tmp_path / "disk", "4m") as disk:
        project = private_project(f"sqlite:///{disk}/shop.sqlite3")
        _run_out_of_space(project, disk, tmp_path, chunk=64 * 1024)
        connections["private"].close()


def _run_out_of_space(project, disk, tmp_path, chunk):
    go, mark = tmp_path / "go", tmp_path / "mark"
    filler = disk / "filler"
    with started(project) as worker:
        result = tasks.wait_for_file.enqueue(str(go), str(mark))
        project.wait_for(mark.exists)
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * chunk)
        with pytest.raises(OperationalError, match=r"space|full"):
            while True:
                tasks.noop.using(queue_name="q" * 100).enqueue_many([()] * 20)
        stored = Job.objects.count()
        go.touch()
        with suppress(AssertionError):  # there may be room for it where a row was before
            project.wait_for(lambda: "cannot be used" in worker.output, 3)
        filler.unlink()
        project.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() == stored, 20)
        assert Job.objects.get(id=result.id).return_value == int(mark.read_text())
        tasks.noop.enqueue().get(timeout=10)


# SQLite's one write lock


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_write_lock_that_a_task_holds_costs_nothing(private_project, tmp_path, journal):
    project = private_project(
        f"sqlite:///{tmp_path}/shop.sqlite3", init_command=f"PRAGMA journal_mode={journal}"
    )
    options(project, lease=6)
    go, mark = tmp_path / "go", tmp_path / "mark"
    with started(project, "--processes", "2") as worker:
        holder = hard.hold_write_lock.enqueue(str(mark), str(go))
        waiting = tasks.noop.using(queue_name="z").enqueue()
        project.wait_for(mark.exists)
        held_at = time.monotonic()
        project.wait_for(lambda: time.monotonic() - held_at > 2.5)
        go.touch()
        holder.get(timeout=10)
        waiting.get(timeout=10)
        assert "locked" not in worker.output
        assert "cannot be used" not in worker.output
        assert "lost" not in worker.output
    assert not Job.objects.exclude(fence=1).exists()
    assert Worker.objects.count() == 1


# Values that break the connection


def test_a_result_too_large_for_the_server_fails_its_job_only(project):
    only(project, "mariadb")
    options(project, max_result_bytes=100_000_000)
    with started(project, failures=True) as worker:
        huge, fine = tasks.answer.enqueue("huge"), tasks.answer.enqueue("fine")
        assert fine.get(timeout=20) == "fine"
        project.wait_for(lambda: Job.objects.get(id=huge.id).is_finished)
        assert worker.process.poll() is None
    job = Job.objects.get(id=huge.id)
    assert (job.status, job.error_code, job.fence) == ("FAILED", "RESULT_UNSTORABLE", 1)
