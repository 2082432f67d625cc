"""Calls of several tasks that are stored at once."""

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

from django_tasks_q import aenqueue_many, compat, enqueue_many
from django_tasks_q.exceptions import UnserializableValue
from django_tasks_q.models import Job

from .tasksapp import tasks


def stored(alias):
    return Job.objects.using(alias).order_by("id")


def mixed():
    """Calls of two tasks under three sets of options, in an order that mixes them."""
    urgent = tasks.add.using(priority=5)
    return [
        tasks.add.bind(1),
        tasks.describe.bind(extra="two"),
        urgent.bind(3),
        tasks.add.bind(4, b=5),
        tasks.describe.bind(extra="six").using(queue_name="mail", tags=["x"]),
    ]


def test_jobs_and_results_have_the_order_of_the_calls(storage_alias):
    results = enqueue_many(mixed())
    jobs = list(stored(storage_alias))
    assert [result.id for result in results] == [str(job.id) for job in jobs]
    assert [(job.task_name.rpartition(".")[2], job.args, job.kwargs) for job in jobs] == [
        ("add", [1], {}),
        ("describe", [], {"extra": "two"}),
        ("add", [3], {}),
        ("add", [4], {"b": 5}),
        ("describe", [], {"extra": "six"}),
    ]
    assert [(job.priority, job.queue_name, job.tags) for job in jobs] == [
        (0, "default", None),
        (0, "default", None),
        (5, "default", None),
        (0, "default", None),
        (0, "mail", '["x"]'),
    ]
    assert [result.task.name for result in results] == [job.task_name for job in jobs]
    assert all(result.status == "READY" for result in results)


def test_calls_of_one_task_and_options_are_one_statement(storage_alias, django_assert_max_num_queries):
    once = tasks.add.using(priority=1)
    calls = [made for n in range(40) for made in (once.bind(n), tasks.add.using(priority=1).bind(n))]
    # A transaction, one insert in parts, and the notification.
    with django_assert_max_num_queries(6, connection=connections[storage_alias]):
        enqueue_many(calls)
    assert stored(storage_alias).count() == 80


@pytest.mark.parametrize("bad", [object(), (1,), None, tasks.add])
def test_what_is_no_call_is_refused_before_anything_is_stored(storage_alias, bad):
    with pytest.raises(TypeError, match=r"made by task\.bind\(\)"):
        enqueue_many([tasks.add.bind(1), bad])
    assert not stored(storage_alias).exists()


def test_one_call_that_cannot_be_stored_stores_none(storage_alias):
    with pytest.raises(UnserializableValue):
        enqueue_many([tasks.add.bind(1), tasks.add.bind(object())])
    with transaction.atomic(using=storage_alias):
        with pytest.raises(UnserializableValue):
            enqueue_many([tasks.describe.bind(extra="a"), tasks.add.bind(object())])
        tasks.add.enqueue(1)  # the transaction can be used
    assert stored(storage_alias).count() == 1


def test_a_statement_that_fails_takes_back_those_before_it(storage_alias):
    """All were checked, so only the database can refuse one: here by a queue name that was not checked."""
    long = tasks.describe.using(queue_name="mail")
    object.__setattr__(long, "queue_name", None)
    with pytest.raises(Exception, match=r"(?i)null|queue"):
        enqueue_many([tasks.add.bind(1), long.bind()])
    assert not stored(storage_alias).exists()


def test_none_and_one(storage_alias, django_assert_num_queries):
    with django_assert_num_queries(0, connection=connections[storage_alias]):
        assert enqueue_many([]) == []
        assert enqueue_many(iter(())) == []
    (result,) = enqueue_many(call for call in [tasks.add.bind(2)])
    assert result.id == str(stored(storage_alias).get().id)


def test_receivers_hear_of_each_call(storage_alias):
    heard = []

    def listen(sender, task_result, **kwargs):
        heard.append(task_result.id)

    compat.task_enqueued.connect(listen)
    try:
        results = enqueue_many(mixed())
    finally:
        compat.task_enqueued.disconnect(listen)
    assert sorted(heard) == sorted(result.id for result in results)


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_calls_in_a_transaction_on_another_database_are_stored_after_it(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.DatabaseBackend",
                                  "OPTIONS": {"DATABASE": "postgres"}}}  # fmt: skip
    with transaction.atomic(using="default"):
        enqueue_many(mixed())
        assert not stored("postgres").exists()
    assert stored("postgres").count() == 5


@pytest.mark.django_db(databases=["default", "postgres"])
def test_backends_of_two_databases_are_refused(settings):
    ours = "django_tasks_q.backends.DatabaseBackend"
    settings.TASKS = {
        "default": {"BACKEND": ours},
        "beside": {"BACKEND": ours},
        "away": {"BACKEND": ours, "OPTIONS": {"DATABASE": "postgres"}},
    }
    calls = [tasks.add.bind(1), tasks.add.using(backend="beside").bind(2)]
    enqueue_many(calls)
    assert [job.backend for job in stored("default")] == ["default", "beside"]
    with pytest.raises(ValueError, match="away, default of these tasks have none in common"):
        enqueue_many([tasks.add.bind(1), tasks.add.using(backend="away").bind(2)])
    assert not stored("postgres").exists()
    assert stored("default").count() == 2


def test_a_backend_without_rows_takes_one_call_after_the_other(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.ImmediateBackend"}}
    results = enqueue_many([tasks.add.bind(1, 2), tasks.add.bind(3, 4)])
    assert [result.return_value for result in results] == [3, 7]


def test_the_asynchronous_twin_does_the_same(storage_alias):
    results = async_to_sync(aenqueue_many)([tasks.add.bind(1), tasks.noop.bind()])
    assert [result.id for result in results] == [str(job.id) for job in stored(storage_alias)]


def test_routes_apply_to_each_task(storage_alias, settings):
    default = settings.TASKS["default"]
    options = default.get("OPTIONS", {}) | {"ROUTES": {"*.describe": {"queue_name": "routed"}}}
    settings.TASKS = settings.TASKS | {"default": default | {"OPTIONS": options}}
    enqueue_many([tasks.add.bind(1), tasks.describe.bind()])
    assert [job.queue_name for job in stored(storage_alias)] == ["default", "routed"]


def test_internal_tasks_are_refused(storage_alias):
    from django_tasks_q.tasks import bulk

    with pytest.raises(compat.InvalidTask):
        enqueue_many([tasks.add.bind(1), bulk.bind(verb="retry", selection=None, user="1")])
    assert not stored(storage_alias).exists()
