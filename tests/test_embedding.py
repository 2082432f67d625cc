"""Workers that a program starts by a call, and beside an ASGI application."""

import asyncio
import logging
import os
import signal
import threading
from io import StringIO

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.utils.functional import SimpleLazyObject

from django_tasks_q.embedding import WithWorker, run_worker
from django_tasks_q.models import Job, Worker
from django_tasks_q.worker.signal_handlers import USED

from .conftest import on_one_database
from .project import wait_for
from .tasksapp import tasks


def status(result):
    return Job.objects.get(id=result.id).status


def wait_until_done(result):
    wait_for(lambda: status(result) == "SUCCESSFUL")
    connections.close_all()  # of this thread


def state_of_the_process():
    return (
        {number: signal.getsignal(number) for number in USED},
        signal.getitimer(signal.ITIMER_REAL),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1)),
        {child.pid for child in psutil.Process().children(recursive=True)},
    )


@pytest.fixture
def unchanged(project):
    """The project's database in this process, which is afterwards as it was."""
    before, session = state_of_the_process(), session_of(project)
    yield project
    assert state_of_the_process() == before
    assert session_of(project) == session


def session_of(project):
    """What only the same session has."""
    connection = connections[project.alias]
    connection.ensure_connection()
    if project.alias == "default":
        return id(connection.connection)
    function = "pg_backend_pid()" if project.alias == "postgres" else "connection_id()"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}")
        return cursor.fetchone()


def test_a_program_runs_its_jobs_by_a_call(unchanged):
    results = [tasks.add.enqueue(1, 2), tasks.add_in_thread.enqueue(1, 2), tasks.async_add.enqueue(1, 2)]
    out = StringIO()
    call_command("runworker", "--batch", "--processes", "1", stdout=out)
    assert [status(result) for result in results] == ["SUCCESSFUL"] * 3
    assert "3 succeeded" in out.getvalue()


def test_what_a_program_has_not_evaluated_stays_so(unchanged):
    evaluated = []
    lazy = SimpleLazyObject(lambda: evaluated.append(True))
    run_worker(processes=1, batch=True)
    assert evaluated == []
    assert not lazy


def test_a_thread_runs_jobs_until_it_is_told_to_stop(unchanged):
    stop, ended = threading.Event(), []

    def work():
        run_worker(processes=1, worker_name="of a thread", stop=stop)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert tasks.add.enqueue(1, 2).get(timeout=20) == 3
        assert Worker.objects.get().name == "of a thread"
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(20)
    assert ended
    assert Worker.objects.get().stopped_at is not None


def test_a_program_that_writes_meanwhile_keeps_its_lock_to_itself(unchanged):
    """SQLite keeps what a process has locked in memory, which is copied."""
    result = tasks.noop.enqueue()
    children = psutil.Process().children()
    thread = threading.Thread(target=run_worker, kwargs={"processes": 1, "batch": True})
    with transaction.atomic(using=unchanged.alias):
        Job.objects.filter(id=result.id).update(priority=1)
        thread.start()
        wait_for(lambda: psutil.Process().children() != children)
    thread.join(20)
    assert not thread.is_alive()
    assert status(result) == "SUCCESSFUL"


@pytest.mark.once
@pytest.mark.django_db
def test_a_thread_of_a_test_in_a_transaction_is_refused():
    refused = []

    def work():
        try:
            run_worker(batch=True)
        except CommandError as error:
            refused.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    (problem,) = refused
    assert "within a transaction, as in a TestCase" in problem
    assert "run_jobs()" in problem


def test_a_signal_stops_the_worker_of_the_main_thread(unchanged, tmp_path):
    mark, go = tmp_path / "mark", tmp_path / "go"
    result = tasks.wait_for_file.enqueue(str(go), str(mark))

    def interrupt():
        wait_for(mark.exists)
        os.kill(os.getpid(), signal.SIGTERM)
        go.touch()

    thread = threading.Thread(target=interrupt)
    thread.start()
    run_worker(processes=1)
    thread.join()
    assert status(result) == "SUCCESSFUL"


def test_an_exception_of_the_caller_leaves_no_process(unchanged):
    """As of a test that takes too long."""

    class Late(Exception):
        pass

    def raise_late(*_):
        raise Late

    handler = signal.signal(signal.SIGUSR1, raise_late)
    pid = os.getpid()

    def interrupt():
        wait_for(lambda: Worker.objects.exists())
        connections.close_all()
        os.kill(pid, signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Late):
            run_worker(processes=1)
    finally:
        signal.signal(signal.SIGUSR1, handler)
        thread.join()


def test_a_worker_that_cannot_work_says_why(unchanged):
    for argument in ("queues", "exclude_queues"):
        with pytest.raises(CommandError, match=f"{argument} must be a list of names"):
            run_worker(batch=True, **{argument: "emails"})
    with pytest.raises(CommandError, match="must be between 1 and 10000"):
        run_worker(processes=0)
    with pytest.raises(CommandError, match=r"TASKS has no backend 'defualt'\. Did you mean 'default'"):
        run_worker(backend="defualt")
    with (
        transaction.atomic(using=unchanged.alias),
        pytest.raises(CommandError, match=r"testing\.run_jobs\(\)"),
    ):
        run_worker(batch=True)


def test_a_worker_that_dies_is_an_error(unchanged):
    tasks.noop.enqueue()

    def kill():
        worker = wait_for(Worker.objects.first)
        connections.close_all()
        os.kill(worker.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(CommandError, match="killed by SIGKILL, which was the worker's"):
        run_worker(processes=1)
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_database_in_memory_is_refused(settings, monkeypatch):
    session = type(connections["default"])
    monkeypatch.setattr(session, "is_in_memory_db", lambda self: True)
    with pytest.raises(CommandError, match="is in the memory of this process"):
        run_worker(batch=True)


# Beside an ASGI application


class Server:
    """What an ASGI server does with an application in its lifespan."""

    def __init__(self, application):
        self.application = application
        self.received, self.sent = asyncio.Queue(), asyncio.Queue()

    async def __aenter__(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self.task = asyncio.create_task(self.application(scope, self.received.get, self.sent.put))
        await self.received.put({"type": "lifespan.startup"})
        self.startup = await asyncio.wait_for(self.sent.get(), 20)
        return self

    async def __aexit__(self, *error):
        if self.startup["type"] == "lifespan.startup.complete":
            await self.received.put({"type": "lifespan.shutdown"})
            assert (await asyncio.wait_for(self.sent.get(), 30))["type"] == "lifespan.shutdown.complete"
        await self.task


async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 204})


@pytest.fixture
def served(project, monkeypatch):
    for name, value in project.env.items():
        monkeypatch.setenv(name, value)
    return project


@on_one_database
def test_a_worker_lives_as_long_as_the_server(served):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    result = tasks.add.enqueue(1, 2)

    async def serve():
        wrapped = WithWorker(application, "--processes", "1", "--verbosity", "0")
        async with Server(wrapped) as server:
            assert server.startup == {"type": "lifespan.startup.complete"}
            await asyncio.to_thread(wait_until_done, result)
            sent = asyncio.Queue()
            await wrapped({"type": "http"}, None, sent.put)
            assert (await sent.get())["status"] == 204

    asyncio.run(serve())
    assert Worker.objects.get().stopped_at is not None
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before


@pytest.mark.once
def test_a_server_without_lifespan_is_told_of(caplog):
    async def serve():
        wrapped = WithWorker(application)
        for _ in range(2):
            await wrapped({"type": "http"}, None, asyncio.Queue().put)

    with caplog.at_level(logging.ERROR):
        asyncio.run(serve())
    (record,) = caplog.records
    assert "sends no lifespan events" in record.message


@pytest.mark.once
def test_a_startup_without_settings_fails(monkeypatch):
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)

    async def serve():
        async with Server(WithWorker(application)) as server:
            assert server.startup["type"] == "lifespan.startup.failed"
            assert "DJANGO_SETTINGS_MODULE" in server.startup["message"]

    asyncio.run(serve())


@on_one_database
def test_a_worker_that_ends_by_itself_is_told_of(served, caplog):
    async def serve():
        async with Server(WithWorker(application, "--queue", "a,b")):
            await asyncio.to_thread(wait_for, lambda: "has ended with status 1" in caplog.text)

    with caplog.at_level(logging.ERROR):
        asyncio.run(serve())


@pytest.mark.once
@pytest.mark.parametrize("arguments", [("--processes", "0"), ("--no-such-flag",), ("--threads", "many")])
def test_flags_that_the_worker_does_not_know_are_refused_where_they_are_written(arguments):
    with pytest.raises(CommandError):
        WithWorker(None, *arguments)


@pytest.mark.once
def test_what_cannot_be_set_is_no_request_to_stop():
    with pytest.raises(CommandError, match=r"stop must be a threading\.Event, not 5"):
        run_worker(stop=5)
