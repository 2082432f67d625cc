"""Wake-ups by notifications, and what happens without them."""

import json
import select
import statistics
import threading
import time
import uuid
from types import SimpleNamespace

import pytest
from django.db import connections, transaction

from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job, Worker
from django_tasks_q.results import waiter
from django_tasks_q.storage import Notifications, job_watcher, storage_for
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
    for times in (storage.notifications._notifier.sent_at, storage.notifications._notifier.asked_at):
        times.clear()
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
def test_notifications_name_the_queue_and_are_no_query_of_the_caller(listener, django_assert_num_queries):
    with django_assert_num_queries(1, connection=connections["postgres"]):
        tasks.add.enqueue(1)
    (notification,) = listener._connection.notifies(timeout=2, stop_after=1)
    assert notification.payload == "jobs  default"
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


# Whom they concern


@pytest.fixture
def sent(listener):
    """Return the payloads that arrive within a moment."""

    def payloads():
        return sorted(note.payload for note in listener._connection.notifies(timeout=0.2))

    return payloads


def enqueue_to(*queues):
    for queue in queues:
        tasks.noop.using(queue_name=queue).enqueue()


@on_postgres
def test_each_queue_is_notified_for(sent, monkeypatch):
    monkeypatch.setattr(notifications, "NOTIFY_INTERVAL", 3600.0)
    monkeypatch.setattr(notifications, "QUIET", 3600.0)
    enqueue_to("a", "b", "a", "b", "with spaces", "a")
    assert sent() == ["jobs  a", "jobs  b", "jobs  with spaces"]
    enqueue_to("a", "b", "c")
    assert sent() == ["jobs  c"]


@on_postgres
def test_many_queues_of_a_process_are_notified_for_at_once(sent, monkeypatch):
    monkeypatch.setattr(notifications, "NOTIFY_INTERVAL", 3600.0)
    monkeypatch.setattr(notifications, "QUIET", 3600.0)
    monkeypatch.setattr(notifications, "BUSY", 1e9)
    enqueue_to(*map(str, range(100)))
    assert sent() == sorted(["", *(f"jobs  {number}" for number in range(notifications.MANY))])
    enqueue_to("0", "99", "new")  # that one stands for all
    assert sent() == []


@on_postgres
def test_the_queues_of_one_transaction_are_one_notification(sent, monkeypatch):
    statements, notify = [], notifications._notify

    def count(connection, channel, payloads):
        statements.append(list(payloads))
        notify(connection, channel, payloads)

    monkeypatch.setattr(notifications, "_notify", count)
    with transaction.atomic(using="postgres"):
        enqueue_to("a", "b", "a")
        with pytest.raises(ZeroDivisionError), transaction.atomic(using="postgres"):
            enqueue_to("rolled back")
            raise ZeroDivisionError
        enqueue_to("c")
        storage_for("postgres").notifications.notify_cancel("default")
    assert [sorted(payloads) for payloads in statements] == [["cancel", "jobs  a", "jobs  b", "jobs  c"]]
    assert sent() == sorted(statements[0])
    with transaction.atomic(using="postgres"):
        enqueue_to(*map(str, range(100)))
        storage_for("postgres").notifications.notify_control("default")
    assert statements[1:] == [["queues", ""]]


@on_postgres
def test_a_queue_of_the_longest_name_is_notified_for(sent):
    name = "\N{GRINNING FACE}" * 128
    enqueue_to(name)
    assert sent() == [f"jobs  {name}"]


@on_postgres
def test_a_listener_drops_what_does_not_concern_it(listener):
    concerned = storage_for("postgres").notifications.listen("default", lambda queue, _: queue in ("", "a"))
    notify = storage_for("postgres").notifications.notify_jobs
    for queue, arrives in {"a": True, "b": False, "": True}.items():
        notify("default", queue)
        assert notified(listener).jobs
        assert notified(concerned).jobs == arrives
    concerned.close()


def test_an_enqueue_into_another_queue_makes_no_worker_claim(project, tmp_path):
    if project.alias != "postgres":
        pytest.skip("there are no notifications elsewhere")
    claims = tmp_path / "claims"
    constants = {f"django_tasks_q.worker.wakeup.{name}": 60.0 for name in ("LOST_NOTIFICATION", "VERIFY")}
    hardship(project, claims=str(claims), constants=constants)
    with project.worker("--processes", "1", "--queue", "a"):
        project.wait_for(lambda: tasks.noop.using(queue_name="a").enqueue().get(timeout=20) is None)
        project.wait_for(lambda: rests(claims))
        before = claims.stat().st_size
        for _ in range(20):
            enqueue_to("b")
            time.sleep(notifications.QUIET * 2)  # each sends a notification
        assert claims.stat().st_size == before
        result = tasks.noop.using(queue_name="a").enqueue()
        project.wait_for(lambda: Job.objects.get(id=result.id).is_finished)
        assert claims.stat().st_size > before


def rests(claims):
    """Return whether a worker has made no claim for some time."""
    return claims.exists() and time.time() - claims.stat().st_mtime > 2


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


@on_postgres
def test_workers_know_of_waiters_and_notify_them_of_the_end(listener):
    storage = storage_for("postgres")
    connections["postgres"].ensure_connection()
    ends, ids = storage.notifications.end_listener(), {uuid.uuid4() for _ in range(500)}
    ends.ask("default", ids)
    # In several payloads, since the server refuses one of 8,000 bytes. They are no reason to claim.
    waited = notified(listener)
    while waited.waited != ids:
        waited |= notified(listener)
    assert waited == Notifications(waited=frozenset(ids))
    assert not ends.is_proven

    def notify():
        storage.notifications.notify_ended("default", ids | {uuid.uuid4()})
        connections.close_all()

    thread = threading.Thread(target=notify)
    thread.start()
    thread.join()
    ended = set()
    while not ended > ids:
        assert select.select([ends], [], [], 2.0)[0]
        ended |= ends.drain()
    assert ends.is_proven
    assert not select.select([ends], [], [], 0.05)[0]
    ends.close()
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_listening_channels()")
        assert cursor.fetchone() == (0,)


@on_postgres
def test_ends_that_are_notified_during_a_query_are_not_lost(listener):
    """A selector finds nothing then: the driver has read them."""
    storage, id = storage_for("postgres"), uuid.uuid4()
    connections["postgres"].ensure_connection()
    ends = storage.notifications.end_listener()
    ends.ask("default", [id])
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", (notifications._ended("default"), id.hex))
        cursor.execute("SELECT 1")
    assert ends.has_arrived
    assert ends.drain() == {id}
    ends.close()


@on_postgres
def test_what_clients_make_up_is_no_end(listener):
    with connections["postgres"].cursor() as cursor:
        for text in ("wait ", "wait x", "wait ,,", f"wait {'0' * 32}, ", "wait \u00e9"):
            cursor.execute("SELECT pg_notify(%s, %s)", (notifications.channel("default"), text))
    assert notified(listener) == Notifications(waited=frozenset({uuid.UUID(int=0)}))


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
    for name in ("SHORTEST", "LONGEST", "LONGEST_NOTIFIED", "STALE"):
        monkeypatch.setattr(job_watcher, name, 60.0)
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
