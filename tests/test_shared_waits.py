"""All that wait for jobs in one process share a session."""

import asyncio
import os
import statistics
import threading
import time
import uuid
from contextlib import contextmanager

import psycopg
import pytest
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q.api.events import Snapshot, stream
from django_tasks_q.api.jobs import wait_for as wait_for_end
from django_tasks_q.execution import other_threads
from django_tasks_q.models import Job, LogLine, Progress
from django_tasks_q.storage import job_watcher, stop_watchers, storage_for, watcher_for
from django_tasks_q.storage.postgresql import notifications

from .project import wait_for
from .tasksapp import tasks

on_postgres = pytest.mark.django_db(transaction=True, databases=["postgres"])


@pytest.fixture(autouse=True)
def no_watcher_yet():
    stop_watchers()
    yield
    stop_watchers()
    # What coroutines of all tests share, and asyncio.run() does not end.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture
def postgres(settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    return storage_for("postgres")


class Observer:
    """A session beside Django's, which sees those of the test and does what a worker would."""

    def __init__(self, settings):
        self.connection = psycopg.connect(settings.DATABASE_URLS["postgres"], autocommit=True)

    def sessions(self, condition="true"):
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            f"AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND {condition}"
        )
        return self.connection.execute(statement).fetchone()[0]

    def end(self, results):
        """End jobs, and notify as their worker does."""
        ids = [result.id for result in results]
        self.connection.execute(
            "UPDATE django_tasks_q_job SET status = 'SUCCESSFUL', result = '7', fence = 1, attempts = 1, "
            "started_at = now(), finished_at = now() WHERE id = ANY(%s::uuid[])",
            (ids,),
        )

        def notify():
            storage_for("postgres").notifications.notify_ended("default", map(uuid.UUID, ids))
            connections.close_all()

        thread = threading.Thread(target=notify)
        thread.start()
        thread.join()

    def kill(self, condition):
        return self.connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
        ).fetchone()[0]


@pytest.fixture
def observer(settings):
    observer = Observer(settings)
    yield observer
    observer.connection.close()


def jobs(count):
    return list(tasks.add.enqueue_many([(1, 2)] * count))


def watched(number):
    return lambda: len(watcher_for(storage_for("postgres"))._asked) == number


async def until(condition, timeout=60):
    async with asyncio.timeout(timeout):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


async def timed(result):
    """The value, and the time at which it was known. Each has a thread for the ORM, as requests have."""
    async with ThreadSensitiveContext():
        value = await result.aget(timeout=120)
        return value, time.monotonic()


WAITERS = 1000


@on_postgres
def test_a_thousand_coroutines_wait_by_one_session(postgres, observer):
    results = jobs(WAITERS)
    connections["postgres"].close()
    most = ended_at = 0

    def count():
        nonlocal most
        while not ended_at:
            most = max(most, observer.sessions())

    async def wait():
        nonlocal ended_at
        waits = [asyncio.ensure_future(timed(result)) for result in results]
        await until(watched(WAITERS))
        await until(lambda: observer.sessions() == 1)
        ended_at = time.monotonic()
        await asyncio.to_thread(counter.join)
        await asyncio.to_thread(observer.end, results)
        return await asyncio.gather(*waits)

    counter = threading.Thread(target=count)
    counter.start()
    try:
        done = asyncio.run(wait())
    finally:
        ended_at = ended_at or 1
    assert {value for value, _ in done} == {7}
    delays = sorted(at - ended_at for _, at in done)
    print(
        f"{most} sessions; woken after {statistics.median(delays):.3f} s, the last after {delays[-1]:.3f} s"
    )
    # One listens, eight query at the same time, and the server takes its time to end what was closed.
    assert most <= 30
    assert delays[-1] < 30


@on_postgres
def test_sixty_coroutines_of_one_thread_wait_by_one_session(postgres, observer):
    results = jobs(60)

    async def wait():
        waits = [asyncio.ensure_future(result.aget(timeout=60)) for result in results]
        await until(watched(60))
        sessions = await asyncio.to_thread(observer.sessions)
        await asyncio.to_thread(observer.end, results)
        return sessions, await asyncio.gather(*waits)

    sessions, values = asyncio.run(wait())
    assert values == [7] * 60
    assert sessions <= 3  # the watcher's, that of the coroutines' thread, and the test's


@contextmanager
def waiting_threads(results, ended):
    """Threads that wait, each for one job. They note when they know its result."""

    def wait(result):
        value = result.get(timeout=60)
        ended.append((value, time.monotonic()))
        connections.close_all()

    threads = [threading.Thread(target=wait, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    try:
        yield
    except BaseException:
        Job.objects.using("postgres").all().update(status="SUCCESSFUL", result="0")
        raise
    finally:
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


@on_postgres
def test_threads_and_event_loops_are_woken_by_one_session(postgres, observer):
    results, ended, done = jobs(12), [], []

    async def wait(some):
        values = await asyncio.gather(*(result.aget(timeout=60) for result in some))
        done.extend((value, time.monotonic()) for value in values)

    def loop(some):
        asyncio.run(wait(some))
        connections.close_all()

    loops = [threading.Thread(target=loop, args=(results[start : start + 4],)) for start in (4, 8)]
    with waiting_threads(results[:4], ended):
        for thread in loops:
            thread.start()
        wait_for(watched(12))
        assert observer.sessions("query LIKE 'LISTEN%'") + observer.sessions("query LIKE '%pg_notify%'") <= 1
        assert len([thread for thread in threading.enumerate() if "waits" in thread.name]) == 1
        began = time.monotonic()
        observer.end(results)
    for thread in loops:
        thread.join(60)
    assert [value for value, _ in [*ended, *done]] == [7] * 12
    assert max(at for _, at in [*ended, *done]) - began < 5


@on_postgres
def test_a_wake_up_does_not_wait_for_a_poll(postgres, observer, monkeypatch):
    for name in ("SHORTEST", "LONGEST", "LONGEST_NOTIFIED", "STALE"):
        monkeypatch.setattr(job_watcher, name, 60.0)
    (result,), ended = jobs(1), []
    with waiting_threads([result], ended):
        wait_for(watched(1))
        began = time.monotonic()
        observer.end([result])
    assert ended[0][1] - began < 5


@on_postgres
def test_an_end_between_the_first_poll_and_the_watch_is_seen(postgres, observer, monkeypatch):
    """The watcher listens, then queries. Nothing is notified here, and no second poll comes."""
    for name in ("SHORTEST", "LONGEST", "LONGEST_NOTIFIED", "STALE"):
        monkeypatch.setattr(job_watcher, name, 60.0)
    (other, result), ended = jobs(2), []
    watch, began = job_watcher.JobWatcher.watch, time.monotonic()

    def end_first(*args, **kwargs):
        Job.objects.using("postgres").update(status="SUCCESSFUL", result="7", finished_at=timezone.now())
        return watch(*args, **kwargs)

    with waiting_threads([other], ended):
        wait_for(watched(1))  # the first poll is over
        monkeypatch.setattr(job_watcher.JobWatcher, "watch", end_first)
        assert result.get(timeout=60) == 7
        assert time.monotonic() - began < 10
        observer.end([other])


@on_postgres
def test_a_listening_session_that_is_killed_is_replaced(postgres, observer):
    results, ended = jobs(3), []
    with waiting_threads(results, ended):
        wait_for(watched(3))
        watcher = watcher_for(postgres)
        before = watcher._descriptor, watcher._listener
        assert observer.kill(f"pid = {before[1]._connection.info.backend_pid}") == 1
        wait_for(lambda: watcher._listener not in (None, before[1]) and watcher._asked)
        began = time.monotonic()
        observer.end(results)
    assert [value for value, _ in ended] == [7] * 3
    assert max(at for _, at in ended) - began < 5


@on_postgres
def test_callers_poll_by_themselves_while_nothing_watches(postgres, observer, monkeypatch):
    def fail(self):
        raise RuntimeError("there is no other session")

    monkeypatch.setattr(job_watcher.JobWatcher, "_open", fail)
    results, ended = jobs(4), []

    async def wait():
        return await asyncio.gather(*(result.aget(timeout=60) for result in results[2:]))

    with waiting_threads(results[:2], ended):
        wait_for(lambda: watcher_for(postgres)._is_failing)
        began = time.monotonic()
        observer.end(results)
        assert asyncio.run(wait()) == [7, 7]
    assert [value for value, _ in ended] == [7, 7]
    assert time.monotonic() - began < 5


@on_postgres
def test_a_watcher_that_hangs_is_cut_off(postgres, observer, monkeypatch):
    monkeypatch.setattr(job_watcher, "STALE", 0.5)
    results, ended = jobs(1), []
    with waiting_threads(results, ended):
        wait_for(watched(1))
        watcher = watcher_for(postgres)
        before = watcher._listener
        # The table is locked, so that its poll hangs as on a network that has gone silent.
        with observer.connection.transaction():
            observer.connection.execute("LOCK django_tasks_q_job IN ACCESS EXCLUSIVE MODE")
            wait_for(lambda: watcher._listener is not before)
        observer.end(results)
    assert ended[0][0] == 7


@on_postgres
def test_a_copy_of_the_process_opens_a_session_for_itself(postgres, observer):
    results, ended = jobs(2), []
    with waiting_threads(results[:1], ended):
        wait_for(watched(1))
        reader, writer = os.pipe()
        connections["postgres"].close()
        before = watcher_for(postgres)
        pid = os.fork()
        if not pid:
            try:
                connections["postgres"].connect()
                value = results[1].get(timeout=60)
                own = watcher_for(postgres)
                os.write(writer, b"%d %d" % (value, own is not before and own._thread is not before._thread))
            finally:
                os._exit(0)
        os.close(writer)
        # Both listen: the session of the original is as it was.
        wait_for(lambda: observer.sessions("query LIKE '%django_tasks_q_job%'") >= 2)
        observer.end(results)
        with os.fdopen(reader, "rb") as file:
            assert file.read() == b"7 1"
        os.waitpid(pid, 0)
    assert ended[0][0] == 7
    assert watcher_for(postgres) is before
    assert not before._failures


@on_postgres
def test_thread_and_session_end_when_no_caller_waits(postgres, observer, monkeypatch):
    monkeypatch.setattr(job_watcher, "LINGER", 60.0)
    results, ended = jobs(1), []
    with waiting_threads(results, ended):
        wait_for(watched(1))
        observer.end(results)
    watcher = watcher_for(postgres)
    assert watcher._thread is not None  # the next one finds it
    connections["postgres"].close()
    monkeypatch.setattr(job_watcher, "LINGER", 0.1)
    watcher._wake()
    wait_for(lambda: watcher._thread is None)
    wait_for(lambda: observer.sessions() == 0)


@on_postgres
def test_a_caller_in_a_transaction_polls_by_itself_and_is_woken(postgres, observer):
    """Only it sees what its transaction has changed."""
    (first, second), began = jobs(2), time.monotonic()
    with transaction.atomic(using="postgres"):
        timer = threading.Timer(0.4, observer.end, ([first],))
        timer.start()
        assert first.get(timeout=60) == 7
        timer.join()
        Job.objects.using("postgres").filter(id=second.id).update(
            status="SUCCESSFUL", result="8", finished_at=timezone.now()
        )
        assert second.get(timeout=60) == 8
    assert time.monotonic() - began < 10


@on_postgres
def test_streams_share_the_session(postgres, observer):
    results = jobs(100)
    ids = [uuid.UUID(result.id) for result in results]

    async def read(id):
        text = ""
        async with ThreadSensitiveContext():
            async for part in stream(Snapshot(Job.objects.using("postgres").all(), id, True, "")):
                text += part
        return text

    async def follow():
        streams = [asyncio.ensure_future(read(id)) for id in ids]
        watcher = watcher_for(postgres)
        await until(lambda: len(watcher._versions) == len(ids))
        await until(lambda: observer.sessions() <= 2)
        await sync_to_async(change)()
        await asyncio.sleep(1.5)
        await asyncio.to_thread(observer.end, results)
        return await asyncio.gather(*streams)

    def change():
        now = timezone.now()
        Progress.objects.using("postgres").create(job_id=ids[0], fence=1, current=1, updated_at=now)
        LogLine.objects.using("postgres").create(
            job_id=ids[1], fence=1, level=20, logger="x", message="a line", created_at=now
        )

    texts = asyncio.run(follow())
    assert all(text.count("event: end") == 1 for text in texts)
    assert [number for number, text in enumerate(texts) if "event: progress" in text] == [0]
    assert [number for number, text in enumerate(texts) if "a line" in text] == [1]


def test_one_query_is_for_all_that_wait(storage_alias, monkeypatch):
    storage, calls = storage_for(storage_alias), []
    results, ended = list(tasks.add.enqueue_many([(1, 2)] * 5)), []
    query = type(storage.notifications).ended

    def counted(self, ids):
        calls.append(len(ids))
        return query(self, ids)

    monkeypatch.setattr(type(storage.notifications), "ended", counted)
    with waiting_threads(results, ended):
        wait_for(lambda: 5 in calls)
        del calls[:]
        time.sleep(1.0)  # the time is what is counted in
        assert set(calls) == {5}
        assert len(calls) <= 12
        Job.objects.using(storage_alias).update(status="SUCCESSFUL", result="7", finished_at=timezone.now())
    assert [value for value, _ in ended] == [7] * 5


def test_a_program_that_ends_while_it_waits_leaves_no_trace(project):
    output = project.script(
        "import threading\n"
        "from tests.tasksapp import tasks\n"
        "result = tasks.add.enqueue(1, 2)\n"
        "def wait():\n"
        "    try:\n"
        "        result.get(timeout=60)\n"
        "    except BaseException as error:\n"
        "        print(error)\n"
        "threading.Thread(target=wait, daemon=True).start()\n"
        "try:\n"
        "    result.get(timeout=0.5)\n"
        "except TimeoutError:\n"
        "    print('ends')\n"
    )
    assert output == "ends"


@on_postgres
def test_the_session_is_none_that_a_task_has_left(postgres, observer, monkeypatch):
    """The watcher may be in the middle of a query when an attempt ends. The child lives on."""
    monkeypatch.setattr(other_threads, "is_unclean", lambda connection: True)
    monkeypatch.setattr(other_threads, "has_news", lambda raw: True)
    results, ended = jobs(1), []
    with waiting_threads(results, ended):
        wait_for(watched(1))
        watcher = watcher_for(postgres)
        session = watcher._listener._wrapper
        monkeypatch.setattr(other_threads, "opened", lambda: [(session, watcher._thread)])
        assert not other_threads.clean_other_threads(is_alone=True)
        other_threads.prepare_other_threads(is_alone=True)
        assert session.connection is not None
        observer.end(results)


def test_a_task_may_wait_for_another(project):
    """In a child, whose sessions are cleaned between two jobs."""
    with project.worker("--processes", "2", "--threads", "2", "--async-concurrency", "2") as worker:
        for _ in range(3):
            for task in (tasks.wait_for_another, tasks.wait_for_another_in_thread, tasks.await_another):
                assert task.enqueue(0.4).get(timeout=60) == 3
        assert worker.stop() == 0
        assert "has changed its process" not in worker.output
        assert "Traceback" not in worker.output


def test_a_task_that_waits_is_interrupted_at_its_deadline(project):
    waits = (tasks.wait_for_another, tasks.wait_for_another_in_thread, tasks.await_another)
    with project.worker("--processes", "2", "--threads", "2", "--async-concurrency", "2"):
        results = [task.using(timeout=0.7, max_attempts=1).enqueue(20) for task in waits]
        project.wait_for(lambda: Job.objects.filter(error_code="TASK_TIMEOUT").count() == len(results), 15)


@on_postgres
def test_a_long_poll_has_no_session_while_it_waits(postgres, observer):
    (result,), open_at_the_end = jobs(1), []

    def poll():
        job = Job.objects.using("postgres").get(id=result.id)
        wait_for_end(job, 30.0, Job.objects.using("postgres").all())
        open_at_the_end.append(connections["postgres"].connection is not None)
        connections.close_all()

    thread = threading.Thread(target=poll)
    thread.start()
    wait_for(watched(1))
    connections["postgres"].close()
    wait_for(lambda: observer.sessions() == 1)
    observer.end([result])
    thread.join(20)
    assert open_at_the_end == [True]


@pytest.mark.once
def test_a_pool_does_not_lend_the_session(postgres):
    connection = connections["postgres"].copy()
    connection.settings_dict["OPTIONS"] |= {"pool": {"min_size": 1}}
    postgres.notifications.prepare(connection)
    assert "pool" not in connection.settings_dict["OPTIONS"]
    assert connection.settings_dict["OPTIONS"]["connect_timeout"] == notifications.CONNECT_TIMEOUT
    assert "connect_timeout" not in connections["postgres"].settings_dict["OPTIONS"]
