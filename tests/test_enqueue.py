"""How a call becomes a row, quickly."""

import inspect
import json
import pickle
import threading
from contextlib import suppress
from dataclasses import fields
from types import SimpleNamespace
from uuid import RFC_4122, UUID

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q import compat
from django_tasks_q.definition.result import TaskResult
from django_tasks_q.models import Job
from django_tasks_q.models.identifiers import uuid7, uuid7_texts
from django_tasks_q.payload.signature import Parameters
from django_tasks_q.storage import storage_for
from django_tasks_q.storage.postgresql import prepared_session

from .tasksapp import tasks

TEXTS = [
    "",
    "plain",
    "a\tb\nc\rd",
    "back\\slash \\N \\.",
    "\\.",
    "quote \" and '",
    "ü 漢 🙂",
    "{a,b}",
    "%s %(x)s",
]


def stored(alias):
    return Job.objects.using(alias).order_by("id")


def test_many_calls_are_stored_as_they_were_made(storage_alias):
    results = tasks.describe.enqueue_many([{"extra": text} for text in TEXTS])
    jobs = list(stored(storage_alias))
    assert [job.kwargs["extra"] for job in jobs] == TEXTS
    assert [str(job.id) for job in jobs] == [result.id for result in results]
    assert {(job.fence, job.attempts, job.crashes, job.error_code, job.cancel_reason) for job in jobs} == {
        (0, 0, 0, "", "")
    }


@pytest.mark.parametrize("count", [1, 2])
def test_options_are_stored_alike_for_one_call_and_many(storage_alias, count):
    task = tasks.add.using(priority=3, queue_name="q\\1", timeout=None, max_attempts=4, backoff=[1, 2])
    task.enqueue_many([(1,)] * count)
    job = stored(storage_alias)[0]
    assert (job.priority, job.queue_name, job.timeout, job.max_attempts) == (3, "q\\1", None, 4)
    assert json.loads(job.options)["backoff"]
    assert job.run_after is None


def test_many_calls_are_the_callers_transaction(storage_alias):
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=storage_alias):
        tasks.noop.enqueue_many([()] * 50)
        assert stored(storage_alias).count() == 50
        raise ZeroDivisionError
    assert not stored(storage_alias).exists()


def test_none_of_many_is_stored_when_one_is_unusable(storage_alias):
    with transaction.atomic(using=storage_alias):
        with pytest.raises(TypeError):
            tasks.add.enqueue_many([(1,)] * 50 + [(object(),)])
        tasks.noop.enqueue()
    assert stored(storage_alias).count() == 1


def test_who_counts_queries_sees_the_insert(storage_alias):
    with CaptureQueriesContext(connections[storage_alias]) as queries:
        tasks.noop.enqueue()
    assert len(queries) == 1
    assert queries[0]["sql"].lstrip().startswith("INSERT INTO")


def test_statements_are_prepared_once_a_session_is_warm(storage_alias):
    if storage_alias != "postgres":
        pytest.skip("only PostgreSQL prepares")
    connections[storage_alias].close()
    for count in range(prepared_session.WARM + 3):
        tasks.noop.enqueue()
        with connections[storage_alias].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO%'")
            assert cursor.fetchone()[0] == (count >= prepared_session.WARM)


def test_a_session_in_a_broken_transaction_takes_no_job(storage_alias):
    with transaction.atomic(using=storage_alias):
        transaction.set_rollback(True, using=storage_alias)
        with pytest.raises(transaction.TransactionManagementError):
            tasks.noop.enqueue()


def test_forgotten_statements_are_prepared_again(storage_alias):
    if storage_alias != "postgres":
        pytest.skip("only PostgreSQL prepares")
    for _ in range(prepared_session.WARM + 3):
        tasks.noop.enqueue()
    storage = storage_for(storage_alias)
    with storage.session.prepared.cursor() as cursor:
        cursor.execute("DISCARD ALL")
    tasks.noop.enqueue()


# The result of a send


def test_a_result_is_complete_when_somebody_looks(storage_alias):
    argument = {"list": [1]}
    result = tasks.add.enqueue(argument, b=2)
    argument["list"].append(2)
    assert result.args == [{"list": [1]}]
    assert result.kwargs == {"b": 2}
    assert (result.status, result.errors, result.worker_ids) == ("READY", [], [])
    assert result.task is tasks.add
    assert result == pickle.loads(pickle.dumps(result))
    assert "add" in repr(result)
    with pytest.raises(AttributeError, match="nonsense"):
        result.nonsense  # noqa: B018


def test_many_results_are_a_sequence_that_keeps_what_it_has_made(storage_alias):
    results = tasks.add.enqueue_many([(number,) for number in range(5)])
    assert len(results) == 5
    assert results[-1] is results[4]
    assert [result.args for result in results[1:4:2]] == [[1], [3]]
    assert [result.id for result in results] == [str(job.id) for job in stored(storage_alias)]
    with pytest.raises(IndexError):
        results[5]
    results[0].refresh()
    assert results[0] in results
    assert len(tasks.add.enqueue_many([])) == 0


def test_a_result_that_is_refreshed_before_anybody_looked_is_the_newest(storage_alias):
    result = tasks.noop.enqueue()
    Job.objects.using(storage_alias).update(status="SUCCESSFUL", result="5")
    result.refresh()
    assert (result.status, result.return_value) == ("SUCCESSFUL", 5)


def test_receivers_get_complete_results(storage_alias):
    seen = []

    def receiver(task_result, **kwargs):
        seen.append((task_result.id, task_result.args, task_result.task.name))

    compat.task_enqueued.connect(receiver)
    try:
        one, two = tasks.add.enqueue_many([(1,), (2,)])
    finally:
        compat.task_enqueued.disconnect(receiver)
    assert seen == [(one.id, [1], tasks.add.name), (two.id, [2], tasks.add.name)]


@pytest.mark.parametrize("name", ["task_enqueued", "task_started", "task_finished"])
def test_a_signal_is_heard_by_a_receiver_and_by_a_log(name, caplog):
    signal = getattr(compat, name)
    caplog.set_level("WARNING", logger=compat._signals.logger.name)
    assert not compat.is_observed(signal)

    def receiver(**kwargs):
        pass

    signal.connect(receiver)
    try:
        assert compat.is_observed(signal)
    finally:
        signal.disconnect(receiver)
    assert not compat.is_observed(signal)
    with caplog.at_level("DEBUG", logger=compat._signals.logger.name):
        assert compat.is_observed(signal)


def test_what_is_deferred_may_be_read_by_several_threads_at_once():
    both, values = threading.Barrier(2, timeout=20), []

    def make():
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return SimpleNamespace(**{field.name: field.name for field in fields(TaskResult)})

    result = TaskResult.deferred(make, id="known")
    threads = [threading.Thread(target=lambda: values.append((result.task, result.args))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == [("task", "args")] * 2
    with pytest.raises(AttributeError, match="'TaskResult' object has no attribute 'nothing'"):
        result.nothing  # noqa: B018


def test_what_is_deferred_is_made_once():
    made = []

    def make():
        made.append(1)
        return TaskResult.deferred(lambda: None, **{name: name for name in names})

    names = [name for name in TaskResult.__dataclass_fields__ if name != "_return_value"]
    result = TaskResult.deferred(make, id="known")
    assert result.id == "known"
    assert not made
    assert (result.backend, result.args, made) == ("backend", "args", [1])


# Arguments


def plain(a, b, c=1): ...
def keywords(a, *, b, c=2): ...
def rest(a, *args, **kwargs): ...
def positional(a, b=1, /): ...
def nothing(): ...


@given(
    st.sampled_from([plain, keywords, rest, positional, nothing]),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=3),
    st.booleans(),
)
def test_what_obviously_fits_can_be_bound(function, args, kwargs, takes_context):
    if takes_context and function is nothing:
        return
    parameters = Parameters.of(function, takes_context)
    if parameters.obviously_take(args, kwargs):
        inspect.signature(function).bind(*([None] if takes_context else []), *args, **kwargs)


def test_ids_as_text_are_ids():
    texts = [*uuid7_texts(99), *uuid7_texts(1)]
    assert sorted(texts) == texts
    assert str(uuid7()) > texts[-1]
    assert {len(text) for text in texts} == {36}
    assert {UUID(text).version for text in texts} == {7}
    assert {UUID(text).variant for text in texts} == {RFC_4122}
