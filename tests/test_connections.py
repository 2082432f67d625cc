"""What stands between the queue and its database: isolation, poolers, replicas, clocks, lost hints."""

import ctypes.util
import json
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_tasks_q.conf import Options
from django_tasks_q.maintenance.rescue import rescue
from django_tasks_q.models import Attempt, Job, Worker
from django_tasks_q.outcomes import Outcome
from django_tasks_q.states import FINAL
from django_tasks_q.storage import Claim, postgresql, storage_for

from .hardship import tasks as hard
from .pgbouncer import pooled
from .tasksapp import tasks
from .tasksapp.models import Effect
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
                if not storage.is_busy(error):
                    raise

    def work():
        # This worker has no lease, so that its jobs are lost as soon as it has them.
        claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["a"])
        jobs = storage.claim(claim, 30)
        storage.finish([Outcome.successful(job.id, job.fence, "1", 0.1) for job in reversed(jobs)])

    verbs = [
        work,
        work,
        lambda: rescue(storage, "default", Options(max_crashes=1000)),
        lambda: rescue(storage, "default", Options(max_crashes=1000)),
        lambda: storage.prune("default", FINAL, -1.0, 50),
        lambda: storage.prune("default", FINAL, -1.0, 50),
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


# A pooler


def test_a_pooler_in_transaction_mode_is_enough(project):
    only(project, "postgres")
    with pooled(project.database_url) as url:
        project.env["DATABASE_URL"] = url
        project.env["TASKS_OPTIONS"] = json.dumps({"NOTIFY": False, "LEASE": 2})
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
                assert "hints" not in worker.output
            with connections["postgres"].cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                assert cursor.fetchone()[0] <= 2
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
            assert worker.output.count("hints") == 1
            assert worker.stop() == 0


# Hints


def test_a_flood_of_hints_is_no_flood_of_queries(project, tmp_path):
    only(project, "postgres")
    claims = tmp_path / "claims"
    hardship(project, claims=str(claims))
    with project.worker("--processes", "1"):
        tasks.noop.enqueue().get(timeout=20)
        before, began_at = claims.stat().st_size, time.monotonic()
        with connections["postgres"].cursor() as cursor:
            # Many at once, which anybody may send who can connect, then one after the other.
            cursor.execute(
                "SELECT count(pg_notify(%s, number::text)) FROM generate_series(1, 200000) AS number",
                [postgresql.channel("default")],
            )
            while time.monotonic() - began_at < 2:
                cursor.execute("SELECT pg_notify(%s, '')", [postgresql.channel("default")])
        seconds = time.monotonic() - began_at
        assert tasks.add.enqueue(1, 2).get(timeout=5) == 3
        assert claims.stat().st_size - before <= 2 * seconds / 0.02 + 10


@on_postgres
def test_a_hint_that_fails_is_no_failure_of_the_enqueue(queue_on_postgres, monkeypatch):
    monkeypatch.setattr(postgresql, "channel", lambda backend: "too long" * 10)
    queue_on_postgres._hinted.clear()
    in_autocommit = tasks.add.enqueue(1)
    queue_on_postgres._hinted.clear()
    with transaction.atomic(using="postgres"):
        in_transaction = tasks.add.enqueue(2)
        Effect.objects.using("postgres").create(key="also", pid=1)
    assert Job.objects.using("postgres").filter(id__in=[in_autocommit.id, in_transaction.id]).count() == 2
    assert Effect.objects.using("postgres").count() == 1


# Replicas


class ReplicaRouter:
    """Reads go to a database that cannot be reached."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "postgres"

    def allow_relation(self, one, other, **hints):
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

    from django_tasks_q.api.serializers import JobSerializer
    from django_tasks_q.api.views import JobView

    if not named:  # the router alone says where jobs are written
        settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": {}}}
    storage = unreachable_replica
    result = tasks.fail.enqueue()
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.fail.name])
    assert storage.has_work(claim)
    (job,) = storage.claim(claim, 1)
    assert [lost.id for lost in storage.lost("default")] == [job.id]
    assert storage.held(claim.worker_id) == [(job.id, 1)]
    assert len(rescue(storage, "default", Options(max_crashes=1))) == 1
    assert storage.next_due("default") is None
    result.refresh()
    assert (str(result.status), len(result.errors)) == ("FAILED", 1)
    assert storage.prune("default", FINAL, 3600.0) == 0
    assert storage.forget_workers() == 0
    for model in (Job, Worker):
        model_admin = admin.site._registry[model]
        list(model_admin.get_queryset(rf.get("/")))
    assert JobSerializer(JobView().get_queryset().get()).data["status"] == "FAILED"


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
