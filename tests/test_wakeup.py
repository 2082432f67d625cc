"""Wake-up hints, and what happens without them."""

import json
import select
import statistics
import time

import pytest
from django.db import connections, transaction

from django_tasks_q.models import Job, Worker
from django_tasks_q.storage import storage_for
from django_tasks_q.storage.postgresql import hints

from .tasksapp import tasks


@pytest.fixture
def listener(settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    storage = storage_for("postgres")
    storage._hinter.sent_at.clear()
    listener = storage.listen("default")
    yield listener
    listener.close()


def hinted(listener, timeout=2.0):
    ready, _, _ = select.select([listener], [], [], timeout)
    return bool(ready) and listener.drain()


on_postgres = pytest.mark.django_db(transaction=True, databases=["postgres"])


@on_postgres
def test_an_enqueue_sends_a_hint_once_it_has_committed(listener):
    with transaction.atomic(using="postgres"):
        tasks.noop.enqueue()
        assert not hinted(listener, 0.05)
    assert hinted(listener)


@on_postgres
def test_an_enqueue_that_is_rolled_back_sends_none(listener):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="postgres"):
        tasks.noop.enqueue()
        raise ZeroDivisionError
    assert not hinted(listener, 0.1)


@on_postgres
def test_hints_are_few_however_many_jobs_there_are(listener, monkeypatch):
    monkeypatch.setattr(hints, "HINT_INTERVAL", 3600.0)
    monkeypatch.setattr(hints, "QUIET", 3600.0)
    for _ in range(20):
        tasks.noop.enqueue()
    assert hinted(listener)
    assert not hinted(listener, 0.05)


@on_postgres
def test_hints_carry_no_data_and_are_no_query_of_the_caller(listener, django_assert_num_queries):
    with django_assert_num_queries(1, connection=connections["postgres"]):
        tasks.add.enqueue(1)
    (notification,) = listener._connection.notifies(timeout=2, stop_after=1)
    assert notification.payload == ""
    assert notification.channel == hints.channel("default")


@on_postgres
def test_a_backend_may_do_without_hints(listener, settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"NOTIFY": False}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    tasks.noop.enqueue()
    assert not hinted(listener, 0.1)


@on_postgres
def test_a_transaction_that_is_managed_by_hand_sends_one_with_its_commit(listener):
    connection = connections["postgres"]
    transaction.set_autocommit(False, using="postgres")
    try:
        tasks.noop.enqueue()
        assert not hinted(listener, 0.05)
        connection.commit()
    finally:
        transaction.set_autocommit(True, using="postgres")
    assert Job.objects.using("postgres").count() == 1
    assert hinted(listener).jobs


def latency(project, count=10):
    """Median seconds from an enqueue to the start of the job, with an idle worker."""
    delays = []
    for _ in range(count):
        result = tasks.noop.enqueue()
        project.wait_for(lambda result=result: Job.objects.get(id=result.id).is_finished)
        job = Job.objects.get(id=result.id)
        delays.append((job.started_at - job.enqueued_at).total_seconds())
        # Until the worker is idle enough to be looking but rarely.
        time.sleep(0.3)
    return statistics.median(delays)


def test_an_idle_worker_starts_a_job_soon(project):
    with project.worker("--processes", "1"):
        project.wait_for(Worker.objects.exists)
        project.wait_for(lambda: tasks.noop.enqueue().get(timeout=20) is None)
        assert latency(project) < (1.5 if project.alias == "mariadb" else 0.25)


def test_polling_finds_jobs_without_hints(project):
    project.env["TASKS_OPTIONS"] = json.dumps({"NOTIFY": False})
    with project.worker("--processes", "1"):
        assert tasks.add.enqueue(1, 1).get(timeout=20) == 2
        time.sleep(0.2)
        assert tasks.add.enqueue(1, 2).get(timeout=5) == 3


@pytest.mark.parametrize("kind", ["listener", "worker"])
def test_a_worker_outlives_the_end_of_its_sessions(project, kind):
    if project.alias != "postgres":
        pytest.skip("only a server has sessions")
    with project.worker("--processes", "1") as worker:
        assert tasks.add.enqueue(1, 1).get(timeout=20) == 2
        with connections["postgres"].cursor() as cursor:
            condition = "LIKE 'LISTEN%%'" if kind == "listener" else "NOT LIKE 'LISTEN%%'"
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND query {condition}"
            )
            assert cursor.fetchone()[0] >= 1
        assert tasks.add.enqueue(1, 2).get(timeout=20) == 3
        assert worker.stop() == 0
        assert "Traceback" not in worker.output
