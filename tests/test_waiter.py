"""Where waiting for a result is of no use, that is said at once."""

import logging

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

from django_tasks_q import compat, task
from django_tasks_q.exceptions import WouldNeverReturn
from django_tasks_q.results import waiter
from django_tasks_q.testing import run_jobs

from .tasksapp import tasks


@pytest.mark.parametrize("how", ["get", "aget"])
@pytest.mark.parametrize("timeout", [None, 30])
def test_a_job_of_the_open_transaction_is_not_waited_for(storage_alias, how, timeout):
    def wait(result):
        return result.get(timeout) if how == "get" else async_to_sync(result.aget)(timeout)

    with transaction.atomic(using=storage_alias):
        result = tasks.add.enqueue(1, 2)
        error = pytest.raises(WouldNeverReturn, match=r"was enqueued in a transaction .* still open")
        with transaction.atomic(using=storage_alias), error:  # a savepoint is the same transaction
            wait(result)
    run_jobs()
    assert wait(result) == 3
    # Another transaction is another one. What it can see is waited for no longer than asked for.
    sees_commits = connections[storage_alias].vendor != "sqlite"
    later = tasks.add.enqueue(1, 2)
    with transaction.atomic(using=storage_alias):
        assert wait(result) == 3
        with pytest.raises(TimeoutError if sees_commits else WouldNeverReturn):
            later.get(timeout=0.05)


@pytest.mark.django_db(transaction=True)
def test_what_has_ended_is_answered_inside_the_transaction_too():
    with transaction.atomic():
        result = tasks.add.enqueue(1, 2)
        run_jobs()
        assert result.get() == 3


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_job_that_is_stored_after_another_databases_transaction_is_not_waited_for(settings):
    with transaction.atomic(using="postgres"):
        result = tasks.add.enqueue(1, 2)
        with pytest.raises(WouldNeverReturn, match="a transaction on database 'postgres'"):
            result.get(timeout=30)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)


def test_a_transaction_that_reads_one_state_waits_for_nothing(storage_alias):
    if connections[storage_alias].vendor != "postgresql":
        pytest.skip("the others have no levels of isolation to choose")
    from psycopg import IsolationLevel

    result = tasks.add.enqueue(1, 2)
    connection = connections[storage_alias]
    before, connection.isolation_level = connection.isolation_level, IsolationLevel.REPEATABLE_READ
    try:
        with transaction.atomic(using=storage_alias), pytest.raises(WouldNeverReturn):
            result.get(timeout=30)
    finally:
        connection.isolation_level = before


@task(name="test_waiting.waits", takes_context=True)
def waits(context, how):
    result = tasks.add.enqueue(1, 2)
    try:
        return result.get(timeout=0.02)
    except (TimeoutError, WouldNeverReturn) as error:
        return type(error).__name__


@task(name="test_waiting.waits_within", atomic=True)
def waits_within():
    return waits.func(None, "")


def test_a_task_that_waits_for_a_job_is_warned_of_once(storage_alias, caplog, monkeypatch):
    monkeypatch.setattr(waiter, "_warned", set())
    with caplog.at_level(logging.WARNING, "django_tasks_q.results"):
        results = [waits.enqueue("") for _ in range(2)]
        run_jobs()
    warnings = [record.getMessage() for record in caplog.records if record.name == "django_tasks_q.results"]
    assert len(warnings) == 1
    assert "Task test_waiting.waits waits for the result of another job" in warnings[0]
    assert {waits.get_result(result.id).return_value for result in results} == {"TimeoutError"}


def test_an_atomic_task_cannot_wait_for_what_it_enqueues(storage_alias):
    result = waits_within.enqueue()
    run_jobs()
    result.refresh()
    assert result.status == compat.TaskResultStatus.SUCCESSFUL, result.errors
    assert result.return_value == "WouldNeverReturn"
