"""A job exists if and only if the transaction that it was enqueued in commits, wherever that is."""

import logging

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import path

from django_tasks_q import compat
from django_tasks_q.backends import cross_database
from django_tasks_q.models import Job

from .tasksapp import tasks


@pytest.fixture
def queue(storage_alias):
    """The alias of the queue; the project's own transactions are there too."""
    return storage_alias


def stored(alias):
    return Job.objects.using(alias).count()


def test_a_rollback_takes_the_job_along(queue):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=queue):
        tasks.noop.enqueue()
        assert stored(queue) == 1
        raise ZeroDivisionError
    assert stored(queue) == 0


def test_a_rollback_to_a_savepoint_takes_its_jobs_along(queue):
    with transaction.atomic(using=queue):
        kept = tasks.noop.enqueue()
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=queue):
            tasks.noop.enqueue()
            raise ZeroDivisionError
    assert str(Job.objects.using(queue).get().id) == kept.id


def test_a_job_enqueued_on_commit_is_stored_then(queue):
    with transaction.atomic(using=queue):
        transaction.on_commit(tasks.noop.enqueue, using=queue)
        assert stored(queue) == 0
    assert stored(queue) == 1
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=queue):
        transaction.on_commit(tasks.noop.enqueue, using=queue)
        raise ZeroDivisionError
    assert stored(queue) == 1


def test_refused_arguments_leave_the_transaction_usable(queue):
    with transaction.atomic(using=queue):
        with pytest.raises(TypeError):
            tasks.add.enqueue(object())
        tasks.noop.enqueue()
    assert stored(queue) == 1


def succeed(request):
    tasks.noop.enqueue()
    return HttpResponse()


def fail(request):
    tasks.noop.enqueue()
    raise ZeroDivisionError


urlpatterns = [path("succeed", succeed), path("fail", fail)]


def test_a_request_that_fails_enqueues_nothing(queue, settings, monkeypatch):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    monkeypatch.setitem(connections[queue].settings_dict, "ATOMIC_REQUESTS", True)
    client = Client(raise_request_exception=False)
    assert client.get("/fail").status_code == 500
    assert stored(queue) == 0
    assert client.get("/succeed").status_code == 200
    assert stored(queue) == 1


# A queue in another database than the transaction


@pytest.fixture
def queue_elsewhere(settings):
    options = settings.TASKS["default"]["OPTIONS"] | {"DATABASE": "postgres"}
    settings.TASKS = {"default": settings.TASKS["default"] | {"OPTIONS": options}}
    cross_database._warned.clear()


both = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])


@both
def test_a_job_elsewhere_waits_for_the_commit_and_says_so_once(queue_elsewhere, caplog):
    heard = []

    def listen(task_result, **kwargs):
        heard.append(task_result.id)

    compat.task_enqueued.connect(listen)
    try:
        for _ in range(2):
            with caplog.at_level(logging.WARNING), transaction.atomic():
                result = tasks.add.enqueue(1, 2)
                more = tasks.add.enqueue_many([(1,), (2,)])
                assert stored("postgres") == 0
                assert result.id not in heard
                with pytest.raises(compat.TaskResultDoesNotExist):
                    result.refresh()
            result.refresh()
            assert stored("postgres") == 3
            assert heard[-3:] == [result.id, *(one.id for one in more)]
            Job.objects.using("postgres").all().delete()
    finally:
        compat.task_enqueued.disconnect(listen)
    (warning,) = [record for record in caplog.records if record.name == "django_tasks_q.backends"]
    assert "'default' are stored in 'postgres' after it commits" in warning.getMessage()


@both
def test_a_job_elsewhere_shares_a_rollback_though_not_the_transaction(queue_elsewhere):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.noop.enqueue()
        raise ZeroDivisionError
    with transaction.atomic(), pytest.raises(ZeroDivisionError), transaction.atomic():
        tasks.noop.enqueue()
        raise ZeroDivisionError
    assert stored("postgres") == 0


@both
def test_a_transaction_on_the_queues_own_database_comes_first(queue_elsewhere):
    with transaction.atomic():
        with transaction.atomic(using="postgres"):
            tasks.noop.enqueue()
            assert stored("postgres") == 1
        assert stored("postgres") == 1


@both
def test_a_job_that_cannot_be_stored_after_the_commit_is_an_error(queue_elsewhere):
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(DatabaseError, match="read-only"), transaction.atomic():
            tasks.noop.enqueue()
        cursor.execute("RESET default_transaction_read_only")
    assert stored("postgres") == 0
    assert not connection.in_atomic_block
