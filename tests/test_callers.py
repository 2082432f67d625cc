"""What the queue leaves of the caller's connection: its settings, its transaction, its class, its memory."""

import gc
import threading
import uuid
import weakref
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import wraps
from typing import ClassVar

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import OperationalError, connections, transaction
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from django.test import Client, TestCase
from django.utils import timezone

from django_tasks_q.lifecycle.outcome import Outcome
from django_tasks_q.lifecycle.states import FINAL
from django_tasks_q.models import Job
from django_tasks_q.models.statistic import FIGURES
from django_tasks_q.storage import Claim, storage_for
from django_tasks_q.storage.orm.operations import PARTS
from django_tasks_q.storage.postgresql import prepared_session
from django_tasks_q.storage.session import Part, repeated

from .admin_support import JOBS as ADMIN_JOBS
from .admin_support import SCREENS
from .api_support import API
from .conftest import Router
from .tasksapp import tasks

NOW = timezone.now()

pytestmark = pytest.mark.django_db(transaction=True, databases=["postgres"])

#: What a statement of the queue might leave behind, which is 'on' or something else by default.
SETTINGS = ("synchronous_commit", "statement_timeout", "lock_timeout", "search_path", "plan_cache_mode",
            "enable_sort", "enable_seqscan", "jit", "transaction_isolation")  # fmt: skip


@pytest.fixture(autouse=True)
def queue_on_postgres(settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    storage = storage_for("postgres")
    storage.notifications._notifier.sent_at.clear()
    # The suite's server does not wait for the disk; a project's does.
    connections["postgres"].ensure_connection()
    connections["postgres"].connection.execute("SET synchronous_commit = on")
    yield storage
    connections["postgres"].close()


def session_settings():
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in SETTINGS))
        return dict(zip(SETTINGS, cursor.fetchone(), strict=True))


@contextmanager
def by_hand():
    transaction.set_autocommit(False, using="postgres")
    try:
        yield
    finally:
        connections["postgres"].rollback()
        transaction.set_autocommit(True, using="postgres")


@contextmanager
def by_hand_in_atomic():
    with by_hand(), transaction.atomic(using="postgres"):
        yield


@contextmanager
def savepoint():
    with transaction.atomic(using="postgres"), transaction.atomic(using="postgres"):
        yield


@contextmanager
def hooks_inside_a_transaction():
    with transaction.atomic(using="postgres"):
        yield
        with TestCase.captureOnCommitCallbacks(using="postgres", execute=True):
            tasks.noop.enqueue()
        assert session_settings()["synchronous_commit"] == "on"


def atomic():
    return transaction.atomic(using="postgres")


@pytest.mark.parametrize(
    "mode",
    [by_hand, by_hand_in_atomic, atomic, savepoint, hooks_inside_a_transaction],
    ids=lambda mode: mode.__name__,
)
def test_no_setting_of_the_callers_transaction_is_changed(mode, queue_on_postgres):
    with mode():
        before = session_settings()
        tasks.noop.enqueue()
        assert session_settings() == before
        tasks.noop.enqueue_many([()] * 3)
        queue_on_postgres.notifications.notify_cancel("default")
        queue_on_postgres.notifications.notify_control("default")
        assert session_settings() == before
        with queue_on_postgres.session.reading(5.0):
            assert Job.objects.using("postgres").count() == 4
        assert session_settings() == before


def test_no_setting_of_a_transaction_that_django_does_not_know_of_is_changed():
    raw = connections["postgres"].connection
    raw.execute("BEGIN")
    tasks.noop.enqueue()
    assert session_settings()["synchronous_commit"] == "on"
    raw.execute("ROLLBACK")


def test_a_hint_alone_does_not_wait_for_the_disk(queue_on_postgres):
    """Where it is known to be its own transaction it is sent with the setting, which ends with it."""
    sent = []
    raw = connections["postgres"].connection
    with closing(Executed(raw, sent)):
        tasks.noop.enqueue()
    assert any("synchronous_commit" in statement for statement in sent)
    assert session_settings()["synchronous_commit"] == "on"


class Executed:
    """What is executed past Django's cursors."""

    def __init__(self, raw, sent):
        self.raw, execute = raw, raw.execute

        def note(statement, *args, **kwargs):
            sent.append(statement)
            return execute(statement, *args, **kwargs)

        raw.execute = note

    def close(self):
        del self.raw.execute


@pytest.mark.parametrize("mode", [by_hand, by_hand_in_atomic])
def test_hints_of_transactions_by_hand_come_with_their_commit(mode, queue_on_postgres):
    listener = queue_on_postgres.notifications.listen("default")
    with closing(listener):
        with mode():
            tasks.noop.enqueue()
            if mode is by_hand:
                connections["postgres"].commit()
        if mode is by_hand_in_atomic:  # it was rolled back
            assert not list(listener._connection.notifies(timeout=0.05))
        else:
            assert list(listener._connection.notifies(timeout=2, stop_after=1))


def test_a_transaction_by_hand_is_not_repeated_in_part(monkeypatch, queue_on_postgres):
    """A deadlock has rolled back all of it, of which the queue knows only the end."""
    runs = []

    class Verbs(Part):
        @repeated
        def verb(self):
            runs.append(1)
            raise OperationalError from psycopg.errors.DeadlockDetected()

    with by_hand(), pytest.raises(OperationalError):
        Verbs(queue_on_postgres.session).verb()
    assert runs == [1]
    with pytest.raises(OperationalError):
        Verbs(queue_on_postgres.session).verb()
    assert len(runs) > 2


# Memory


def test_closed_connections_are_gone():
    alive = weakref.WeakSet()
    for _ in range(60):
        tasks.noop.enqueue()
        alive.add(connections["postgres"].connection)
        connections["postgres"].close()
    gc.collect()
    assert len(alive) == 0


def test_closed_connections_are_gone_with_no_help_of_the_collector():
    gc.collect()
    gc.disable()
    try:
        tasks.noop.enqueue_many([()] * 2)
        tasks.noop.enqueue()
        alive = weakref.ref(connections["postgres"].connection)
        connections["postgres"].close()
        assert alive() is None
    finally:
        gc.enable()


def test_connections_of_threads_are_gone():
    alive, wrappers = weakref.WeakSet(), weakref.WeakSet()

    def work():
        try:
            tasks.noop.enqueue()
            storage_for("postgres").jobs.claim(claim_of_nothing, 1)
            alive.add(connections["postgres"].connection)
            wrappers.add(connections["postgres"])
        finally:
            connections.close_all()

    claim_of_nothing = Claim(worker_id=uuid.uuid4(), backend="default", task_names=["nobody.knows"])
    for _ in range(20):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    gc.collect()
    assert len(alive) == 0
    assert len(wrappers) == 0


# What stands between Django and the driver


class TenantWrapper(base.DatabaseWrapper):
    """As django-tenants does it: the schema is chosen when a cursor is made."""

    schema = "public"

    def _cursor(self, name=None):
        cursor = super()._cursor(name)
        raw = super()._cursor()
        with closing(raw):
            raw.execute(f'SET search_path = "{self.schema}"')
        return cursor


class Traced(psycopg.ClientCursor):
    statements: ClassVar[list] = []

    def execute(self, query, *args, **kwargs):
        self.statements.append(str(query))
        return super().execute(query, *args, **kwargs)


class TracedConnection(psycopg.Connection):
    cursor_factory = Traced


@pytest.fixture
def schemas():
    with connections["postgres"].cursor() as cursor:
        for name in ("one", "two"):
            cursor.execute(f"CREATE SCHEMA {name}")
            for model in (Job, *PARTS):
                table = model._meta.db_table
                cursor.execute(f"CREATE TABLE {name}.{table} (LIKE public.{table} INCLUDING ALL)")
    yield ("one", "two")
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SET search_path = public")
        cursor.execute("DROP SCHEMA one CASCADE; DROP SCHEMA two CASCADE")


def in_schema(name):
    with psycopg.connect(**connections["postgres"].get_connection_params()) as raw:
        return raw.execute(f"SELECT status, count(*) FROM {name}.{Job._meta.db_table} GROUP BY 1").fetchall()


@contextmanager
def wrapped(wrapper):
    """The alias by way of another class, as ENGINE would have it."""
    before = connections["postgres"]
    connections["postgres"] = wrapper(before.settings_dict, "postgres")
    try:
        yield connections["postgres"]
    finally:
        connections["postgres"].close()
        connections["postgres"] = before


def test_jobs_stay_in_the_schema_that_a_backend_chooses(schemas, queue_on_postgres, monkeypatch):
    monkeypatch.setattr(queue_on_postgres.session.prepared, "is_worker", True)
    with wrapped(TenantWrapper) as connection:
        connection.schema = "one"
        for _ in range(prepared_session.WARM + 2):  # statements are prepared by then
            tasks.noop.enqueue()
        connection.schema = "two"
        tasks.noop.enqueue()
        tasks.noop.enqueue_many([()] * 3)
        assert in_schema("one") == [("READY", prepared_session.WARM + 2)]
        assert in_schema("two") == [("READY", 4)]
        claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.noop.name])
        jobs = queue_on_postgres.jobs.claim(claim, 10)
        assert len(jobs) == 4
        outcomes = [Outcome.successful(job.id, job.fence, "1", 0.1) for job in jobs]
        connection.schema = "one"
        written, claimed = queue_on_postgres.jobs.round_trip(outcomes, claim, 2).result()
        assert (written, len(claimed)) == ({}, 2)
        connection.schema = "two"
        assert len(queue_on_postgres.jobs.finish(outcomes)) == 4
        assert queue_on_postgres.maintenance.prune("default", FINAL, -1.0) == 4
    assert in_schema("public") == in_schema("two") == []


@pytest.mark.parametrize("where", ["cursor_factory", "connection"])
def test_tracers_of_the_driver_see_every_statement(where, queue_on_postgres, monkeypatch):
    Traced.statements.clear()
    connections["postgres"].close()
    if where == "cursor_factory":
        options = connections["postgres"].settings_dict["OPTIONS"]
        monkeypatch.setitem(options, "cursor_factory", Traced)
    else:
        connect = base.Database.connect

        def traced(**params):
            return TracedConnection.connect(**{**params, "cursor_factory": Traced})

        monkeypatch.setattr(base.Database, "connect", traced)
        assert connect is not base.Database.connect
    tasks.noop.enqueue()
    tasks.noop.enqueue_many([()] * 2)
    claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.noop.name])
    jobs = queue_on_postgres.jobs.claim(claim, 10)
    queue_on_postgres.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.1) for job in jobs])
    seen = [statement for statement in Traced.statements if "django_tasks_q_job" in statement]
    assert [statement.split()[0] for statement in seen] == ["INSERT", "INSERT", "WITH", "WITH"]


def replaced_on_the_connection(connection, monkeypatch):
    class Panel:
        """A bound method, but of something else."""

        def cursor(self, *args, **kwargs):
            seen.append("cursor")
            return type(connection).cursor(connection, *args, **kwargs)

    seen = []
    monkeypatch.setattr(connection, "cursor", Panel().cursor)
    return seen


def patched_in_djangos_class(connection, monkeypatch):
    seen, execute = [], CursorWrapper.execute

    @wraps(execute)
    def traced(self, sql, params=None):
        seen.append(sql)
        return execute(self, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", traced)
    return seen


def execute_wrapper(connection, monkeypatch):
    seen = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    monkeypatch.setattr(connection, "execute_wrappers", [note])
    return seen


def debug_cursor(connection, monkeypatch):
    monkeypatch.setattr(connection, "force_debug_cursor", True)
    connection.queries_log.clear()
    return connection.queries_log


@pytest.mark.parametrize(
    "watch",
    [replaced_on_the_connection, patched_in_djangos_class, execute_wrapper, debug_cursor],
    ids=lambda watch: watch.__name__,
)
def test_whoever_watches_djangos_cursors_sees_an_enqueue(watch, monkeypatch):
    tasks.noop.enqueue()
    seen = watch(connections["postgres"], monkeypatch)
    tasks.noop.enqueue()
    assert len(seen) == 1


def test_nobody_watches_a_plain_connection():
    """Without this, all of the above would pass with no fast road at all."""
    assert not prepared_session.is_watched(connections["postgres"])
    connection = connections["postgres"]
    connection.cursor = connection.cursor  # what a test case leaves that has forbidden it
    try:
        assert not prepared_session.is_watched(connection)
    finally:
        del connection.cursor


# Parameters that the server binds


@pytest.fixture
def bound_by_the_server(monkeypatch, settings):
    settings.DATABASE_ROUTERS = [Router("postgres")]
    monkeypatch.setitem(connections["postgres"].settings_dict["OPTIONS"], "server_side_binding", True)
    connections["postgres"].close()
    connections["postgres"].ensure_connection()
    assert connections["postgres"].connection.cursor_factory is base.ServerBindingCursor
    cache.clear()
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


JOBS = [
    {"status": "READY", "queue_name": "a"},
    {"status": "SCHEDULED", "run_after": NOW, "attempts": 1, "tags": '["x"]'},
    {"status": "RUNNING", "started_at": NOW, "worker_id": uuid.UUID(int=1)},
    {"status": "SUCCESSFUL", "finished_at": NOW, "result": "1", "retention": 100.0},
    {
        "status": "FAILED",
        "finished_at": NOW,
        "error_code": "builtins.ValueError",
        "worker_id": uuid.UUID(int=1),
    },
    {"status": "CANCELLED", "finished_at": NOW},
]
WORKER = f"worker={uuid.UUID(int=1)}"
LISTS = (
    "status=ready&queue=a",
    "status=scheduled&tag=x",
    "status=retrying",
    "status=running",
    "status=failed&task=tests.tasksapp.tasks.noop",
    f"{WORKER}&window=all",
    "window=all&schedule=s",
)
FILTERS = ("status=FAILED", "queue=a", f"tag=x&enqueued_after={NOW:%Y-%m-%dT%H:%MZ}", "schedule=s")
PATHS = ("jobs", "queues", "queues/a", "workers", "schedules", "tasks", "stats", "health")


@pytest.mark.parametrize(
    "path",
    [
        *SCREENS,
        *(f"{ADMIN_JOBS}?{query}" for query in LISTS),
        *(
            f"{API}{path}/"
            for path in ("jobs", "queues", "queues/a", "workers", "schedules", "tasks", "stats", "health")
        ),
        *(f"{API}jobs/?{query}" for query in FILTERS),
    ],
)
def test_pages_are_the_same_with_parameters_that_the_server_binds(bound_by_the_server, path):
    for values in JOBS:
        Job.objects.create(
            task_name=tasks.noop.name, backend="default", arguments="[[],{}]", enqueued_at=NOW, **values
        )
    response = bound_by_the_server.get(path)
    assert response.status_code == (503 if "health" in path else 200), response.content[:500]


def test_verbs_are_the_same_with_parameters_that_the_server_binds(bound_by_the_server, queue_on_postgres):
    storage = queue_on_postgres
    tasks.noop.enqueue()
    tasks.noop.enqueue_many([()] * 5)
    tasks.noop.using(run_after=NOW + timedelta(hours=1), expires_at=NOW + timedelta(hours=2)).enqueue()
    for more in ({}, {"queues": ("default",)}, {"queues": ("default", "b")}, {"exclude_queues": ("b",)}):
        claim = Claim(worker_id=uuid.uuid4(), backend="default", task_names=[tasks.noop.name], **more)
        (job,) = storage.jobs.claim(claim, 1)
        assert storage.jobs.finish([Outcome.successful(job.id, job.fence, "1", 0.1)])
    assert storage.maintenance.promote("default") == 0
    assert storage.maintenance.lost("default") == []
    assert storage.maintenance.expire("default") == []
    assert storage.maintenance.next_due("default").start > 3000
    assert storage.maintenance.prune("default", FINAL, -1.0) == 4
    assert storage.maintenance.prune_retained("default", 5.0) == 0
    storage.statistics.count("default", {("default", tasks.noop.name): {FIGURES[0]: 1}})
    assert storage.queues.count(storage.queues.busy())["default", "default"].ready.number == 2
    with storage.session.reading(2.0), storage.session.reading(1.0):
        assert Job.objects.count() == 3
    id = Job.objects.filter(status="READY").first().id
    assert storage.jobs.reschedule([id], NOW).done
    assert storage.jobs.run_now([id]).done
    assert storage.jobs.cancel([id]).done
    assert storage.jobs.retry([id]).done
    storage.notifications.notify_jobs("default")
    storage.notifications.notify_ended("default", [id])
