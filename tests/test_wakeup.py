"""Wake-ups by notifications, and what happens without them."""

import itertools
import json
import select
import statistics
import threading
import time
import uuid
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job, Worker
from django_tasks_q.results import waiter
from django_tasks_q.storage import Notifications, storage_for
from django_tasks_q.storage.postgresql import notifications
from django_tasks_q.worker.subscribers import waiters
from django_tasks_q.worker.subscribers.waiters import WaiterNotifications

from .tasksapp import tasks
from .test_outages import hardship


@pytest.fixture
def listener(settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    storage = storage_for("postgres")
    storage.notifications._notifier.sent_at.clear()
    listener = storage.notifications.listen("default")
    yield listener
    listener.close()


def notified(listener, timeout=2.0):
    ready, _, _ = select.select([listener], [], [], timeout)
    return bool(ready) and listener.drain()


on_postgres = pytest.mark.django_db(transaction=True, databases=["postgres"])


@on_postgres
def test_an_enqueue_sends_a_notification_once_it_has_committed(listener):
    with transaction.atomic(using="postgres"):
        tasks.noop.enqueue()
        assert not notified(listener, 0.05)
    assert notified(listener)


@on_postgres
def test_an_enqueue_that_is_rolled_back_sends_none(listener):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="postgres"):
        tasks.noop.enqueue()
        raise ZeroDivisionError
    assert not notified(listener, 0.1)


@on_postgres
def test_notifications_are_few_however_many_jobs_there_are(listener, monkeypatch):
    monkeypatch.setattr(notifications, "NOTIFY_INTERVAL", 3600.0)
    monkeypatch.setattr(notifications, "QUIET", 3600.0)
    for _ in range(20):
        tasks.noop.enqueue()
    assert notified(listener)
    assert not notified(listener, 0.05)


@on_postgres
def test_a_busy_database_is_given_fewer(listener, monkeypatch):
    monkeypatch.setattr(notifications, "NOTIFY_INTERVAL", 3600.0)
    monkeypatch.setattr(notifications, "QUIET", 0.0)
    tasks.noop.enqueue()
    assert notified(listener)
    monkeypatch.setattr(storage_for("postgres").notifications._notifier, "took", 3600.0)
    tasks.noop.enqueue()
    assert not notified(listener, 0.05)
    monkeypatch.setattr(notifications, "NOTIFY_INTERVAL", 0.0)
    tasks.noop.enqueue()
    assert notified(listener)


@on_postgres
def test_notifications_carry_no_data_and_are_no_query_of_the_caller(listener, django_assert_num_queries):
    with django_assert_num_queries(1, connection=connections["postgres"]):
        tasks.add.enqueue(1)
    (notification,) = listener._connection.notifies(timeout=2, stop_after=1)
    assert notification.payload == ""
    assert notification.channel == notifications.channel("default")


@on_postgres
def test_a_backend_may_do_without_notifications(listener, settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"NOTIFY": False}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    tasks.noop.enqueue()
    assert not notified(listener, 0.1)


@on_postgres
def test_a_transaction_that_is_managed_by_hand_sends_one_with_its_commit(listener):
    connection = connections["postgres"]
    transaction.set_autocommit(False, using="postgres")
    try:
        tasks.noop.enqueue()
        assert not notified(listener, 0.05)
        connection.commit()
    finally:
        transaction.set_autocommit(True, using="postgres")
    assert Job.objects.using("postgres").count() == 1
    assert notified(listener).jobs


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


def test_polling_finds_jobs_without_notifications(project):
    project.env["TASKS_OPTIONS"] = json.dumps({"NOTIFY": False})
    with project.worker("--processes", "1"):
        assert tasks.add.enqueue(1, 1).get(timeout=20) == 2
        time.sleep(0.2)
        assert tasks.add.enqueue(1, 2).get(timeout=5) == 3


def test_a_job_without_a_notification_is_found_soon_after(project):
    """A notification of one job stands for those that follow, and another worker may run them."""
    if project.alias != "postgres":
        pytest.skip("there are no notifications elsewhere")
    times = {"STREAM": 0.0, "LOST_NOTIFICATION": 60.0, "VERIFY": 0.5, "PROOF": 0.5}
    hardship(project, constants={f"django_tasks_q.worker.wakeup.{name}": times[name] for name in times})
    with project.worker("--queue", "first"), project.worker("--queue", "second"):
        project.wait_for(lambda: Worker.objects.count() == 2)
        time.sleep(1.5)  # until notifications are proven, and they rest: nothing says so
        for _ in range(3):
            first = tasks.noop.using(queue_name="first").enqueue()
            time.sleep(notifications.QUIET / 4)  # the other worker claims meanwhile, in vain
            second = tasks.noop.using(queue_name="second").enqueue()
            # Looked for, not waited for: who waits wakes workers as well.
            for sent in (first, second):
                project.wait_for(lambda sent=sent: Job.objects.get(id=sent.id).is_finished)
            time.sleep(notifications.NOTIFY_INTERVAL)


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


# Waiting for a result


@pytest.fixture
def job_waiter(listener):
    storage = storage_for("postgres")
    id = uuid.uuid4()
    waiter = storage.notifications.job_waiter("default", id)
    yield storage, id, waiter
    waiter.close()


def ring_soon(id):
    def notify():
        storage_for("postgres").notifications.notify_ended("default", [id])
        connections.close_all()

    timer = threading.Timer(0.1, notify)
    timer.start()
    return timer


@on_postgres
def test_workers_know_of_waiters_and_notify_them_of_the_end(listener, job_waiter):
    storage, id, waiter = job_waiter
    waiter.ask()
    assert notified(listener) == Notifications(waited=frozenset({id}))  # no reason to claim
    storage.notifications.notify_ended("default", [uuid.uuid4(), id])
    assert select.select([waiter], [], [], 2.0)[0]
    waiter.drain()
    assert not select.select([waiter], [], [], 0.05)[0]


@on_postgres
def test_a_wait_ends_when_the_bell_rings(listener, monkeypatch):
    monkeypatch.setattr(waiter, "POLLING", 0.0)
    storage, id = storage_for("postgres"), uuid.uuid4()
    with waiter.Waiter(storage, "default", str(id), None) as wait:
        wait.sleep(0.01)  # now it listens
        began = time.monotonic()
        for sleep in (wait.sleep, async_to_sync(wait.asleep)):
            timer = ring_soon(id)
            sleep(20)
            timer.join()
        assert time.monotonic() - began < 10


@on_postgres
def test_a_bell_that_breaks_costs_nothing_but_time(listener, monkeypatch):
    monkeypatch.setattr(waiter, "POLLING", 0.0)
    storage = storage_for("postgres")
    with waiter.Waiter(storage, "default", str(uuid.uuid4()), None) as wait:
        wait.sleep(0.01)
        wait._job_waiter._connection.close()
        wait._asked_at = float("-inf")  # it would ask again
        wait.sleep(0.01)
        assert wait._job_waiter is None
        wait.sleep(0.01)


def test_waiters_are_notified_of_what_has_ended_here_or_is_not_here():
    notified = []

    class Sender:
        def notify_ended(self, backend, ids):
            notified.append(set(ids))

    notifications = WaiterNotifications(SimpleNamespace(notifications=Sender()), "default")
    mine, others, unknown = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    notifications.written({mine: JobStatus.SUCCESSFUL})
    notifications.notify()
    assert notified == []  # no process waits
    notifications.remember([mine, others, unknown], {mine, others})
    notifications.notify()
    assert notified == [{unknown}]  # which another worker may have ended
    notifications.written({mine: JobStatus.SUCCESSFUL, others: JobStatus.SCHEDULED})
    notifications.notify()
    notifications.notify()
    assert notified == [{unknown}, {mine}]
    notifications.written({others: JobStatus.FAILED})
    notifications.notify()
    assert notified[-1] == {others}


def test_waiters_are_forgotten_and_bounded(monkeypatch):
    monkeypatch.setattr(waiters, "REMEMBERED", -1.0)
    notifications = WaiterNotifications(None, "default")
    old, new = uuid.uuid4(), uuid.uuid4()
    notifications.remember([old], {old})
    monkeypatch.setattr(waiters, "REMEMBERED", 60.0)
    monkeypatch.setattr(waiters, "MAX_WAITED", 2)
    for _ in range(3):
        notifications.remember([new], {new})
        notifications.remember([uuid.uuid4()], {new})
    assert old not in notifications._waited
    assert (len(notifications._waited), len(notifications._others)) == (1, 2)


def test_a_waiter_is_notified_at_once_of_the_end_of_a_job(project, tmp_path, monkeypatch):
    """By polling it would be seen half a minute later."""
    if project.alias != "postgres":
        pytest.skip("there are no notifications elsewhere")
    monkeypatch.setattr(waiter, "POLLING", 0.0)
    monkeypatch.setattr(waiter.Waiter, "pauses", lambda self: itertools.repeat(30.0))
    gate = tmp_path / "gate"
    result = tasks.wait_for_file.enqueue(str(gate))
    with project.worker("--processes", "1"):
        project.wait_for(lambda: Job.objects.get(id=result.id).status == "RUNNING")
        timer = threading.Timer(0.5, gate.touch)
        timer.start()
        began = time.monotonic()
        result.get(timeout=60)
        assert time.monotonic() - began < 10
        timer.join()
