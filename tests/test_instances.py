"""Arguments that are rows of models: how they are read when an attempt begins."""

import re

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from django_tasks_q.exceptions import UnstorableValue
from django_tasks_q.models import Job
from django_tasks_q.payload.annotations import converters
from django_tasks_q.testing import run_jobs

from .attempts import tasks
from .conftest import Router, on_one_database
from .tasksapp.models import Effect
from .test_worker import finished, job, options, outcomes

#: Reads of the rows.
READ = re.compile(r'SELECT .* FROM [`"]tasksapp_effect[`"]', re.DOTALL)


@pytest.fixture
def effects(storage_alias, settings):
    settings.DATABASE_ROUTERS = [Router(storage_alias)]
    Effect.objects.using(storage_alias).bulk_create(Effect(key=str(n), pid=n) for n in range(2500))
    return list(Effect.objects.using(storage_alias).order_by("pk").values_list("pk", flat=True))


def test_rows_are_read_together_and_once_each(effects, storage_alias):
    result = tasks.count_effects.enqueue([*effects, *effects[:100]], {"a": effects[0], "b": effects[1]})
    one = tasks.count_effects.enqueue([effects[0]] * 50, {})
    with CaptureQueriesContext(connections[storage_alias]) as queries:
        run_jobs()
    result.refresh()
    one.refresh()
    assert (result.return_value, one.return_value) == ([2500, 2600, 2], [1, 50, 0])
    assert sum(bool(READ.search(query["sql"])) for query in queries) == 3 + 1


def test_a_coroutine_has_them_read_too(effects):
    result = tasks.count_effects_in_loop.enqueue(effects)
    run_jobs()
    result.refresh()
    assert result.return_value == 2500


def test_a_row_that_is_gone_is_named(effects, storage_alias):
    result = tasks.count_effects.enqueue(effects, {})
    Effect.objects.using(storage_alias).filter(pk=effects[7]).delete()
    run_jobs()
    result.refresh()
    assert job(result).error_code == "BAD_ARGUMENTS"
    assert f"There is no Effect with the primary key {effects[7]}." in result.errors[0].message
    assert len(outcomes(result)) == 1


def test_a_database_that_fails_while_they_are_read_is_a_failed_attempt(effects, storage_alias):
    result = tasks.count_effects.enqueue(effects, {})
    failures = []

    def fails_once(execute, sql, params, many, context):
        if READ.search(sql) and not failures:
            failures.append(sql)
            raise OperationalError("the server is gone")
        return execute(sql, params, many, context)

    with connections[storage_alias].execute_wrapper(fails_once):
        run_jobs()
    result.refresh()
    assert failures
    assert outcomes(result) == ["failed", "successful"]
    assert result.errors[0].exception_class is OperationalError


def test_too_many_are_refused_and_those_that_were_stored_before_fail_clearly(effects, monkeypatch):
    monkeypatch.setattr(converters, "MAX_INSTANCES", 2500)
    stored = tasks.count_effects.enqueue(effects, {})
    monkeypatch.setattr(converters, "MAX_INSTANCES", 2499)
    words = "the arguments name more than 2,499 rows of models: pass what they have in common"
    with pytest.raises(UnstorableValue, match=words):
        tasks.count_effects.enqueue(effects, {})
    run_jobs()
    stored.refresh()
    assert (job(stored).error_code, len(outcomes(stored))) == ("BAD_ARGUMENTS", 1)
    assert words in stored.errors[0].message


@on_one_database
def test_reading_them_is_part_of_the_time_of_the_attempt(project):
    options(project, grace=20)
    project.env["EXTRA_APPS"] = '["tests.attempts"]'
    pks = [Effect.objects.create(key="slow", pid=n).pk for n in range(2)]
    slow = (tasks.take_slow, tasks.take_slow_in_thread, tasks.take_slow_in_loop)
    results = [task.enqueue(pks) for task in slow]
    with project.worker("--processes", "1"):
        finished(project, *results, timeout=30)
    assert [(job(result).error_code, outcomes(result)) for result in results] == [
        ("TASK_TIMEOUT", ["timeout"])
    ] * 3
    assert not Job.objects.filter(status="RUNNING").exists()
