"""What stands between the queue and its database: isolation, poolers, replicas, clocks, lost hints."""

import ctypes.util
import json
import os
import socket
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_tasks_q import actions
from django_tasks_q.conf import Options
from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.maintenance.rescue import rescue
from django_tasks_q.models import Attempt, Job, Queue, Schedule, Worker
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.postgresql import notifications

from .admin_support import make_failed, make_job
from .hardship import tasks as hard
from .pgbouncer import pooled
from .tasksapp import tasks
from .tasksapp.models import Effect
from .tcp_proxy import proxied
from .test_storage import _bare, in_threads

on_postgres = pytest.mark.django_db(transaction=True, databases=["postgres"])


def hardship(project, **values):
    project.env |= {"EXTRA_APPS": '["tests.hardship"]', "HARDSHIP": json.dumps(values)}


def only(project, *aliases):
    if project.alias not in aliases:
        pytest.skip(f"not for {project.alias}")


@pytest.fixture
def queue_on_postgres(settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    return storage_for("postgres")


# Isolation


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_workers_agree_at_a_higher_isolation_level(project, level):
    only(project, "postgres")
    hardship(
        project, options={"options": f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}"}
    )
    tasks.noop.enqueue_many([()] * 500)
    retried = tasks.fail_thrice.enqueue()
    deferred = tasks.noop.using(run_after=timedelta(seconds=0.2)).enqueue()
    told = hard.say.enqueue("SHOW default_transaction_isolation")
    with project.worker("--processes", "1") as one, project.worker("--processes", "1") as two:
        project.wait_for(lambda: not Job.objects.exclude(status__in=FINAL).exists(), 60)
        for worker in (one, two):
            assert "cannot be used" not in worker.output
    assert Job.objects.filter(status="SUCCESSFUL", fence=1, attempts=1).count() == 502
    for result in (retried, deferred, told):
        result.refresh()
    assert (retried.attempts, told.return_value) == (3, level)


@pytest.mark.parametrize("level", [None, "serializable"])
def test_all_duties_at_once_neither_deadlock_nor_stick(storage_alias, level, monkeypatch):
    storage = storage_for(storage_alias)
    if level and storage_alias != "postgres":
        pytest.skip("not a choice there")
    if level:
        database_options = connections[storage_alias].settings_dict["OPTIONS"]
        monkeypatch.setitem(database_options, "options", f"-c default_transaction_isolation={level}")
    Job.objects.using(storage.alias).bulk_create([_bare() for _ in range(400)])
    before = deadlocks(storage_alias)

    def persist(verb):
        while Job.objects.using(storage_alias).exists():
            try:
                verb()
            except OperationalError as error:
                if not storage.session.is_busy(error):
                    raise

    def work():
        # This worker has no lease, so that its jobs are lost as soon as it has them.
        claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["a"])
        jobs = storage.jobs.claim(claim, 30)
        storage.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.1) for job in reversed(jobs)])

    verbs = [
        work,
        work,
        lambda: rescue(storage, "default", Options(max_crashes=1000)),
        lambda: rescue(storage, "default", Options(max_crashes=1000)),
        lambda: storage.maintenance.prune("default", FINAL, -1.0, 50),
        lambda: storage.maintenance.prune("default", FINAL, -1.0, 50),
    ]
    in_threads(len(verbs), lambda number: persist(verbs[number]))
    assert not Attempt.objects.using(storage_alias).exists()
    assert deadlocks(storage_alias) == before


def deadlocks(alias):
    if alias != "postgres":
        return 0
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


# Transactions that the project commits by itself


def test_a_worker_runs_jobs_where_autocommit_is_off(project):
    hardship(project, database={"AUTOCOMMIT": False})
    result, atomic = tasks.add.enqueue(1, 2), tasks.leave_atomically.enqueue("key")
    project.run("runworker", "--batch", "--processes", "1")
    result.refresh()
    atomic.refresh()
    assert (result.status, atomic.status) == ("SUCCESSFUL", "SUCCESSFUL")
    assert Effect.objects.filter(key="key").count() == 1


def test_commands_commit_what_they_say_where_autocommit_is_off(project):
    hardship(project, database={"AUTOCOMMIT": False}, connect=True)
    actions.save_schedule("nightly", tasks.noop.name, every=86_400, using=project.alias)
    failed, old = (
        make_failed(),
        make_job(status="SUCCESSFUL", finished_at=timezone.now() - timedelta(days=60)),
    )
    cancelled = make_job(queue_name="mail")

    project.run("tasks", "retry", str(failed.pk))
    project.run("tasks", "cancel", "--queue", "mail", "--all")
    project.run("tasks", "pause", "mail", "--force")
    project.run("tasks", "limit", "mail", "3", "--force")
    project.run("tasks", "schedule", "disable", "nightly")
    enqueued = project.run("tasks", "enqueue", tasks.noop.name).stdout.strip()
    project.run("prune_tasks")

    queue = Queue.objects.get(name="mail")
    states = dict(Job.objects.values_list("pk", "status"))
    assert (states[failed.pk], states[cancelled.pk]) == ("READY", "CANCELLED")
    assert (queue.is_paused, queue.max_running) == (True, 3)
    assert Schedule.objects.get(name="nightly").enabled is False
    assert uuid.UUID(enqueued) in states
    assert old.pk not in states


def test_a_command_that_a_program_calls_is_part_of_its_transaction(project):
    only(project, "postgres")  # SQLite commits where the outermost savepoint ends
    job = make_job()
    transaction.set_autocommit(False, using=project.alias)
    try:
        with transaction.atomic(using=project.alias):
            call_command("tasks", "cancel", str(job.pk))
        job.refresh_from_db()
        cancelled = job.status
    finally:
        transaction.rollback(using=project.alias)
        transaction.set_autocommit(True, using=project.alias)
    job.refresh_from_db()
    assert (cancelled, job.status) == ("CANCELLED", "READY")


# A pooler


def test_a_pooler_in_transaction_mode_is_enough(project):
    only(project, "postgres")
    with pooled(project.database_url) as url:
        project.env["DATABASE_URL"] = url
        project.env["TASKS_OPTIONS"] = json.dumps({"NOTIFY": False, "LEASE": 6})
        hardship(project)
        tasks.noop.enqueue_many([()] * 500)
        hard.in_a_transaction.enqueue_many([(str(number),) for number in range(50)])
        retried = tasks.fail_thrice.enqueue()
        deferred = tasks.noop.using(run_after=timedelta(seconds=0.2)).enqueue()
        parent = tasks.enqueue_child.enqueue(5)
        with project.worker("--processes", "2") as one, project.worker("--processes", "2") as two:
            project.wait_for(lambda: Job.objects.filter(status__in=FINAL).count() == 558, 40)
            for worker in (one, two):
                assert "cannot be used" not in worker.output
                assert "otifications" not in worker.output
            with connections["postgres"].cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    " AND backend_type = 'client backend'"
                )
                assert cursor.fetchone()[0] <= 2
            with psycopg.connect(url, prepare_threshold=None, autocommit=True) as through_the_pooler:
                statements = through_the_pooler.execute("SELECT statement FROM pg_prepared_statements")
                assert statements.fetchall() == []
        for result in (retried, deferred, parent):
            result.refresh()
        assert (retried.attempts, len(parent.return_value)) == (3, 5)
        assert Effect.objects.count() == 50
    assert Job.objects.filter(status="SUCCESSFUL", fence=1).count() == 557


def test_a_worker_that_cannot_hear_says_so_and_polls(project):
    only(project, "postgres")
    hardship(project, constants={"django_tasks_q.worker.wakeup.PROOF": 0.5})
    with pooled(project.database_url) as url:
        project.env["DATABASE_URL"] = url
        with project.worker("--processes", "1") as worker:
            project.wait_for(lambda: "Set 'NOTIFY': False" in worker.output)
            assert tasks.add.enqueue(1, 2).get(timeout=5) == 3
            assert worker.output.count("Notifications do not arrive") == 1
            # One that waits finds the end by polls, as often as where there are no notifications.
            waits = (
                "import time, uuid\n"
                "from tests.tasksapp import tasks\n"
                "from django_tasks_q.storage import storage_for, watcher_for\n"
                "for _ in range(3):\n"
                "    assert tasks.add_later.enqueue(1, 2, 0.5).get(timeout=20) == 3\n"
                "watcher = watcher_for(storage_for('default'))\n"
                "print(watcher._failures, watcher._listener.is_proven)\n"
            )
            assert project.script(waits) == "0 False"
            assert worker.stop() == 0


# Hints


@pytest.mark.any_version
def test_a_flood_of_hints_is_no_flood_of_queries(project, tmp_path):
    only(project, "postgres")
    claims = tmp_path / "claims"
    hardship(project, claims=str(claims))
    flood = (
        "SELECT count(pg_notify(%s, number::text)) FROM generate_series(%s::int, %s::int + 79999) AS number"
    )
    channel = notifications.channel("default")
    with project.worker("--processes", "1"), stuck_listener(project):
        tasks.noop.enqueue().get(timeout=20)
        before, began_at = claims.stat().st_size, time.monotonic()
        enqueued = 0
        with connections["postgres"].cursor() as cursor:
            # Many at once, which anybody may send who can connect, then one after the other.
            for first in range(0, 400_000, 80_000):
                cursor.execute(flood, [channel, first, first])
                tasks.noop.enqueue()
                enqueued += 1
            singles_at = time.monotonic()
            while time.monotonic() - singles_at < 2:
                for _ in range(1000):
                    cursor.execute("SELECT pg_notify(%s, '')", [channel])
                tasks.noop.enqueue()
                enqueued += 1
            cursor.execute("SELECT pg_notification_queue_usage() > 0")
            assert cursor.fetchone() == (True,)  # the stuck one has its server keep them all
        project.wait_for(lambda: Job.objects.filter(status="SUCCESSFUL").count() == 1 + enqueued, 5)
        looks, seconds = claims.stat().st_size - before, time.monotonic() - began_at
    assert enqueued > 5
    # One at a hint that is acted upon and one a pause later, and at each job and its end some for each of
    # three executors. It takes twice as many where each hint is acted upon.
    assert looks <= 2 * seconds / 0.02 + 12 * enqueued + 20


@contextmanager
def stuck_listener(project):
    """Somebody who listens and takes nothing, so that the server has to keep all hints."""
    with psycopg.connect(project.database_url) as stuck:
        stuck.execute(f'LISTEN "{notifications.channel("default")}"')
        stuck.commit()
        stuck.execute("SELECT 1")
        yield


@on_postgres
def test_a_hint_that_fails_is_no_failure_of_the_enqueue(queue_on_postgres, monkeypatch):
    monkeypatch.setattr(notifications, "channel", lambda backend: "too long" * 10)
    queue_on_postgres.notifications._notifier.sent_at.clear()
    in_autocommit = tasks.add.enqueue(1)
    queue_on_postgres.notifications._notifier.sent_at.clear()
    with transaction.atomic(using="postgres"):
        in_transaction = tasks.add.enqueue(2)
        Effect.objects.using("postgres").create(key="also", pid=1)
    assert Job.objects.using("postgres").filter(id__in=[in_autocommit.id, in_transaction.id]).count() == 2
    assert Effect.objects.using("postgres").count() == 1


# Replicas


class ReplicaRouter:
    """Reads go to a database that cannot be reached."""

    def db_for_read(self, model, **notifications):
        return "replica"

    def db_for_write(self, model, **notifications):
        return "postgres"

    def allow_relation(self, one, other, **notifications):
        return True


@pytest.fixture
def unreachable_replica(queue_on_postgres, settings):
    wanted = connections.settings["postgres"] | {"HOST": "127.0.0.1", "PORT": "1"}
    wanted["OPTIONS"] = {"connect_timeout": 2}
    connections.settings["replica"] = wanted
    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    yield queue_on_postgres
    settings.DATABASE_ROUTERS = []
    with suppress(AttributeError):  # which is as it should be: nobody asked for it
        del connections["replica"]
    del connections.settings["replica"]


@on_postgres
@pytest.mark.parametrize("named", [True, False])
def test_nothing_of_the_queue_is_read_from_a_replica(unreachable_replica, settings, named, rf):
    from django.contrib import admin

    from django_tasks_q.api.jobs import JobList
    from django_tasks_q.api.serializers import JobSerializer, attempts_of

    if not named:  # the router alone says where jobs are written
        settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": {}}}
    storage = unreachable_replica
    result = tasks.fail.enqueue()
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.fail.name])
    assert storage.jobs.has_work(claim)
    (job,) = storage.jobs.claim(claim, 1)
    assert [lost.id for lost in storage.maintenance.lost("default")] == [job.id]
    assert [held.id for held in storage.maintenance.held(claim.worker_id)] == [job.id]
    assert storage.jobs.mark_begun([(job.id, job.fence)]) == {(job.id, job.fence)}
    assert len(rescue(storage, "default", Options(max_crashes=1)).states) == 1
    assert storage.maintenance.next_due("default").start is None
    result.refresh()
    assert (str(result.status), len(result.errors)) == ("FAILED", 1)
    assert storage.maintenance.prune("default", FINAL, 3600.0) == 0
    assert storage.workers.forget() == 0
    for model in (Job, Worker):
        model_admin = admin.site._registry[model]
        list(model_admin.get_queryset(rf.get("/")))
    view = JobList()
    view.request = rf.get("/")
    found = view.get_queryset().get()
    assert JobSerializer(found).data["status"] == "FAILED"
    assert len(attempts_of(found, {})) == 1


# Clocks


def fake_clock(project, offset):
    library = next(
        (str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")),
        ctypes.util.find_library("faketime"),
    )
    if library is None:
        pytest.skip("libfaketime is not installed")
    # The steady clocks are true: only what a person would set is wrong.
    project.env |= {"LD_PRELOAD": library, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.any_version
@pytest.mark.parametrize("offset", ["+2h", "-2h"])
def test_rows_follow_the_clock_of_the_database(project, offset):
    only(project, "postgres", "mariadb")
    fake_clock(project, offset)
    now = timezone.now()
    soon = tasks.noop.using(run_after=now + timedelta(seconds=1)).enqueue()
    later = tasks.noop.using(run_after=now + timedelta(hours=1)).enqueue()
    retried = tasks.fail_slowly.enqueue()
    clock = hard.tell_time.enqueue()
    hardship(project)
    with project.worker("--processes", "1"):
        told = clock.get(timeout=20)
        assert abs(abs(told - time.time()) - 7200) < 60
        soon.get(timeout=20)
        project.wait_for(lambda: Attempt.objects.exists())
    soon, later, retried = (Job.objects.get(id=result.id) for result in (soon, later, retried))
    assert later.status == "SCHEDULED"
    assert soon.run_after <= soon.started_at <= soon.finished_at
    assert abs((soon.finished_at - now).total_seconds()) < 20
    assert 3500 < (retried.run_after - now).total_seconds() < 3640
    worker = Worker.objects.get()
    assert abs((worker.started_at - now).total_seconds()) < 20
    assert 0 < (worker.lease_expires_at - now).total_seconds() < 120


def jump(file, offset):
    """Set the clock of whoever reads the file."""
    file.with_suffix(".new").write_text(offset)
    file.with_suffix(".new").rename(file)


@pytest.fixture
def clock(project, tmp_path):
    """The clock of the project's processes, in a file: right at first."""
    fake_clock(project, "")
    del project.env["FAKETIME"]
    clock = tmp_path / "clock"
    project.env |= {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    project.env["TASKS_OPTIONS"] = json.dumps({"LEASE": 4, "GRACE": 0.5})
    jump(clock, "+0")
    return clock


def has_ended(result, pipe):
    """Let a task go that waits for a writer, if it does. Answers whether its job has ended."""
    with suppress(OSError):  # nobody reads
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    return Job.objects.get(id=result.id).is_finished


@pytest.mark.any_version
@pytest.mark.parametrize("offset", ["+2h", "-2h"])
def test_a_clock_that_jumps_while_a_worker_runs_costs_nothing(project, clock, tmp_path, offset):
    only(project, "postgres", "mariadb")
    go, mark = tmp_path / "go", tmp_path / "mark"
    hardship(project)
    with project.worker("--processes", "2") as worker:
        assert abs(hard.tell_time.enqueue().get(timeout=20) - time.time()) < 60
        os.mkfifo(go)
        running = hard.wait_for_writer.enqueue(str(mark), str(go))
        project.wait_for(mark.exists)
        renewed = Worker.objects.get().lease_expires_at
        later = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
        jump(clock, offset)
        told = hard.tell_time.enqueue().get(timeout=10)
        assert abs(abs(told - time.time()) - 7200) < 60
        now = timezone.now()
        # What there is of time: a wait, a deadline, a renewal.
        soon = tasks.noop.using(run_after=timedelta(seconds=0.5)).enqueue()
        soon.get(timeout=10)
        stubborn = tasks.spin.enqueue("stubborn")
        project.wait_for(lambda: Job.objects.get(id=stubborn.id).is_finished, 10)
        project.wait_for(lambda: Worker.objects.get().lease_expires_at > renewed + timedelta(seconds=2))
        project.wait_for(lambda: has_ended(running, go))
        assert "lease" not in worker.output
        assert worker.stop() == 0
    running, later, soon, stubborn = (
        Job.objects.get(id=result.id) for result in (running, later, soon, stubborn)
    )
    assert (running.status, running.fence) == ("SUCCESSFUL", 1)
    assert later.status == "SCHEDULED"
    assert (stubborn.status, stubborn.error_code) == ("FAILED", "TASK_TIMEOUT")
    assert soon.run_after <= soon.started_at
    for job in (running, soon, stubborn):
        assert abs((job.finished_at - now).total_seconds()) < 30


@pytest.mark.any_version
@pytest.mark.parametrize("offset", ["+2h", "-2h"])
def test_a_clock_that_jumps_under_sqlite_loses_no_job(project, clock, tmp_path, offset):
    """There it is the queue's own clock: a lease may be over at once, but deadlines go by another."""
    only(project, "default")
    go, mark = tmp_path / "go", tmp_path / "mark"
    hardship(project)
    os.mkfifo(go)
    with project.worker("--processes", "2") as worker:
        running = hard.wait_for_writer.enqueue(str(mark), str(go))
        project.wait_for(mark.exists)
        jump(clock, offset)
        assert abs(abs(hard.tell_time.enqueue().get(timeout=10) - time.time()) - 7200) < 60
        began_at = time.monotonic()
        stubborn = tasks.spin.enqueue("stubborn")
        project.wait_for(lambda: Job.objects.get(id=stubborn.id).is_finished, 10)
        assert time.monotonic() - began_at > 0.5
        project.wait_for(lambda: has_ended(running, go))
        assert worker.stop() == 0
    running, stubborn = (Job.objects.get(id=result.id) for result in (running, stubborn))
    assert (running.status, stubborn.error_code) == ("SUCCESSFUL", "TASK_TIMEOUT")


# Projects without time zones


@pytest.fixture
def naive(settings, monkeypatch):
    """Far from UTC by hours and minutes, so that a mistake is no small one."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    settings.TIME_ZONE, settings.USE_TZ = "Asia/Kathmandu", False


def test_a_project_without_time_zones_has_one_clock(naive, project):
    project.env["DJANGO_SETTINGS_MODULE"] = "tests.naive_settings"
    begun = datetime.now()
    soon = tasks.noop.using(run_after=begun + timedelta(seconds=1)).enqueue()
    later = tasks.noop.using(run_after=begun + timedelta(hours=1)).enqueue()
    # With a zone, they are meant in it.
    there = datetime.now(UTC) + timedelta(hours=1)
    aware = tasks.noop.using(run_after=there, expires_at=there.astimezone() + timedelta(hours=1)).enqueue()
    late = tasks.noop.using(expires_at=begun + timedelta(seconds=0.1)).enqueue()
    in_time = tasks.noop.using(expires_at=begun + timedelta(hours=1)).enqueue()
    retried = tasks.fail_slowly.enqueue()
    project.wait_for(lambda: datetime.now() > begun + timedelta(seconds=0.2))
    with project.worker("--processes", "1"):
        soon.get(timeout=20)
        in_time.get(timeout=20)
        project.wait_for(lambda: Job.objects.get(id=late.id).is_finished)
        project.wait_for(lambda: Attempt.objects.exists())
        worker = Worker.objects.get()
        assert timedelta(0) < worker.lease_expires_at - datetime.now() < timedelta(minutes=2)
    for result in (soon, later, late, retried):
        result.refresh()
    times = [soon.enqueued_at, soon.started_at, soon.finished_at, late.finished_at]
    assert all(timezone.is_naive(moment) for moment in times)
    assert all(begun <= moment + timedelta(seconds=0.01) <= datetime.now() for moment in times)
    assert begun + timedelta(seconds=1) <= soon.started_at <= soon.finished_at
    assert Job.objects.get(id=later.id).status == "SCHEDULED"
    assert Job.objects.get(id=late.id).status == "EXPIRED"
    zoned = Job.objects.get(id=aware.id)
    assert zoned.status == "SCHEDULED"
    assert timedelta(seconds=3500) < zoned.run_after - begun < timedelta(seconds=3640)
    assert zoned.expires_at - zoned.run_after == timedelta(hours=1)
    due = Job.objects.get(id=retried.id).run_after
    assert timedelta(seconds=3500) < due - begun < timedelta(seconds=3640)
    assert retried.errors
    (attempt,) = Attempt.objects.all()
    assert begun <= attempt.started_at <= attempt.finished_at <= datetime.now()


# Several hosts


@on_postgres
@pytest.mark.parametrize(
    ("host", "wanted", "timeout"),
    [
        ("one", None, 12),
        ("one", 30, 30),
        ("a,b", None, 4),
        ("a,b", 30, 4),
        ("a,b", 2, 2),
        ("a,b,c,d,e,f", None, 2),
    ],
)
def test_hosts_share_the_time_of_a_call(queue_on_postgres, monkeypatch, host, wanted, timeout):
    settings = connections["postgres"].settings_dict
    options = {} if wanted is None else {"connect_timeout": wanted}
    monkeypatch.setitem(settings, "HOST", host)
    monkeypatch.setitem(settings, "OPTIONS", options)
    queue_on_postgres.session.prepare_worker(12.0)
    queue_on_postgres.session.leave_worker()
    assert options["connect_timeout"] == timeout


def test_a_silent_first_host_leaves_time_for_the_second(project):
    """It accepts connections and says nothing, as a frozen machine does whose network still works."""
    only(project, "postgres")
    with proxied(project.database_url) as proxy, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = f"{silent.getsockname()[1]},{urlsplit(proxy.url).port}"
        hardship(project, database={"HOST": "127.0.0.1,127.0.0.1", "PORT": ports})
        result = tasks.add.enqueue(1, 2)
        with project.worker("--processes", "1") as worker:
            project.wait_for(lambda: Job.objects.get(id=result.id).is_finished, 60)
            assert worker.stop(60) == 0
            assert "cannot be used" not in worker.output
