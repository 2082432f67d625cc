import importlib
import json
import pickle
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, models, transaction
from django.utils import timezone, translation
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_tasks_q import compat, task
from django_tasks_q.definition.registry import registry
from django_tasks_q.definition.result import TaskResult
from django_tasks_q.exceptions import JobFailed, UnserializableValue, UnstorableValue
from django_tasks_q.lifecycle.states import JobStatus
from django_tasks_q.models import Job
from django_tasks_q.testing import run_jobs

from .tasksapp import tasks


def jobs(alias):
    return Job.objects.using(alias)


def test_all_that_the_framework_asks_about_is_supported():
    backend = compat.task_backends["default"]
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority


def test_an_enqueued_call_is_a_row(storage_alias):
    result = tasks.add.using(priority=5, queue_name="sums", timeout=7, max_attempts=4).enqueue(1, b=2)
    job = jobs(storage_alias).get()
    assert isinstance(result, TaskResult)
    assert str(job.id) == result.id
    assert job.id.version == 7
    assert (job.task_name, job.queue_name, job.backend) == ("tests.tasksapp.tasks.add", "sums", "default")
    assert (job.priority, job.timeout, job.max_attempts, job.status) == (5, 7.0, 4, JobStatus.READY)
    assert (job.args, job.kwargs) == ([1], {"b": 2})
    assert (result.status, result.args, result.kwargs) == (compat.TaskResultStatus.READY, [1], {"b": 2})
    assert result.attempts == 0


def test_defaults_come_from_the_options(storage_alias, settings):
    options = {**settings.TASKS["default"]["OPTIONS"], "MAX_ATTEMPTS": 9, "TIMEOUT": None}
    settings.TASKS = {"default": {**settings.TASKS["default"], "OPTIONS": options}}
    tasks.noop.enqueue()
    job = jobs(storage_alias).get()
    assert (job.max_attempts, job.timeout) == (9, None)


def test_ids_sort_in_the_order_of_enqueueing(storage_alias):
    ids = [tasks.noop.enqueue().id for _ in range(50)]
    assert ids == sorted(ids)


def test_a_later_start_is_scheduled_and_a_past_one_is_ready(storage_alias):
    later = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
    past = tasks.noop.using(run_after=timezone.now() - timedelta(hours=1)).enqueue()
    assert jobs(storage_alias).get(id=later.id).status == JobStatus.SCHEDULED
    assert jobs(storage_alias).get(id=past.id).status == JobStatus.READY
    assert later.status == compat.TaskResultStatus.READY


def test_a_job_exists_if_and_only_if_its_transaction_commits(storage_alias):
    with transaction.atomic(using=storage_alias):
        tasks.add.enqueue(1)
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=storage_alias):
        tasks.add.enqueue(2)
        raise ZeroDivisionError
    with transaction.atomic(using=storage_alias):
        tasks.add.enqueue(3)
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=storage_alias):
            tasks.add.enqueue(4)
            raise ZeroDivisionError
    assert sorted(job.args[0] for job in jobs(storage_alias).all()) == [1, 3]


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((), {}, TypeError),
        ((1, 2, 3), {}, TypeError),
        ((1,), {"c": 1}, TypeError),
        ((object(),), {}, UnserializableValue),
        ((float("nan"),), {}, UnstorableValue),
        (("a\x00",), {}, UnstorableValue),
        (("\ud800",), {}, UnstorableValue),
        (({1: 2},), {}, UnserializableValue),
        (("x" * 300_000,), {}, UnstorableValue),
    ],
)
def test_bad_arguments_are_refused_and_the_transaction_stays_usable(storage_alias, args, kwargs, error):
    with transaction.atomic(using=storage_alias):
        with pytest.raises(error):
            tasks.add.enqueue(*args, **kwargs)
        tasks.add.enqueue(1)
    assert jobs(storage_alias).count() == 1


def test_many_calls_are_stored_at_once(storage_alias):
    results = tasks.add.enqueue_many([(1, 2), {"a": 3}, (4,)])
    assert [(job.args, job.kwargs) for job in jobs(storage_alias).order_by("id")] == [
        ([1, 2], {}),
        ([], {"a": 3}),
        ([4], {}),
    ]
    assert [result.id for result in results] == [str(job.id) for job in jobs(storage_alias).order_by("id")]
    assert list(tasks.add.enqueue_many([])) == []


@pytest.mark.parametrize("bad", [(), {"c": 1}, (float("nan"),), [1], "text"])
def test_one_bad_call_of_many_stores_none(storage_alias, bad):
    with pytest.raises((TypeError, ValueError)):
        tasks.add.enqueue_many([(1,), bad, (2,)])
    assert not jobs(storage_alias).exists()


def test_many_calls_take_few_queries(storage_alias, django_assert_max_num_queries):
    with django_assert_max_num_queries(4, connection=connections[storage_alias]):
        tasks.add.using(priority=1).enqueue_many([(number,) for number in range(30)])


def test_one_call_takes_one_query(storage_alias, django_assert_num_queries):
    with django_assert_num_queries(1, connection=connections[storage_alias]):
        tasks.add.enqueue(1)


def test_enqueue_tells_receivers_and_survives_a_broken_one(storage_alias):
    heard = []

    def broken(**kwargs):
        raise RuntimeError

    def listen(sender, task_result, **kwargs):
        heard.append((sender, task_result.id))

    compat.task_enqueued.connect(broken)
    compat.task_enqueued.connect(listen)
    try:
        result = tasks.noop.enqueue()
    finally:
        compat.task_enqueued.disconnect(broken)
        compat.task_enqueued.disconnect(listen)
    assert heard == [(type(compat.task_backends["default"]), result.id)]


def test_the_asynchronous_twins_do_the_same(storage_alias):
    async def scenario():
        result = await tasks.add.aenqueue(1, 2)
        many = await tasks.add.aenqueue_many([(3, 4)])
        again = await tasks.add.aget_result(result.id)
        await result.arefresh()
        return result, many, again

    result, many, again = async_to_sync(scenario)()
    assert again.id == result.id
    assert jobs(storage_alias).filter(id__in=[result.id, many[0].id]).count() == 2


@pytest.mark.parametrize("result_id", ["", "nonsense", "0" * 400, "a\x00b", None, 12, str(uuid.UUID(int=7))])
def test_a_missing_or_malformed_id_is_no_result(storage_alias, result_id):
    with pytest.raises(compat.TaskResultDoesNotExist):
        compat.task_backends["default"].get_result(result_id)


def test_the_result_of_another_task_is_a_mismatch(storage_alias):
    result = tasks.add.enqueue(1)
    with pytest.raises(compat.TaskResultMismatch):
        tasks.noop.get_result(result.id)


def test_a_result_tells_of_success(storage_alias):
    result = tasks.add.enqueue(2, b=3)
    run_jobs()
    result.refresh()
    assert (result.status, result.return_value) == (compat.TaskResultStatus.SUCCESSFUL, 5)
    assert result.attempts == len(result.worker_ids) == 1
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at
    assert result.errors == []
    assert result.get(timeout=0) == 5


def test_a_result_tells_of_every_failed_attempt(storage_alias):
    result = tasks.fail_thrice.enqueue()
    run_jobs()
    result.refresh()
    assert result.status == compat.TaskResultStatus.FAILED
    assert result.attempts == len(result.errors) == 3
    for error in result.errors:
        assert error.exception_class is ValueError
        assert "fail_thrice" in error.traceback
        assert "django_tasks_q" not in error.traceback
        assert (error.code, error.message) == ("UNHANDLED_EXCEPTION", "again")
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value
    with pytest.raises(JobFailed, match=r"builtins\.ValueError: again"):
        result.get(timeout=0)


def test_waiting_is_over_when_the_time_is(storage_alias):
    result = tasks.noop.enqueue()
    with pytest.raises(TimeoutError, match=r"has not finished within 0.05 seconds: it is READY"):
        result.get(timeout=0.05)
    with pytest.raises(TimeoutError):
        async_to_sync(result.aget)(timeout=0.05)


@pytest.mark.parametrize("status", JobStatus.values)
def test_a_row_whose_task_is_gone_can_be_read_in_every_state(storage_alias, status):
    result = tasks.add.enqueue(1)
    jobs(storage_alias).update(
        task_name="gone.task", queue_name="gone", status=status, options='{"retry_on": ["gone.Error"]}'
    )
    read = compat.task_backends["default"].get_result(result.id)
    assert (read.task.name, read.task.queue_name, read.args) == ("gone.task", "gone", [1])
    if status in (JobStatus.CANCELLED, JobStatus.EXPIRED):
        assert read.status == compat.TaskResultStatus.FAILED
        assert issubclass(read.errors[0].exception_class, Exception)


def test_retry_rules_of_one_send_are_stored_and_apply(storage_alias):
    sent = tasks.fail.using(max_attempts=5, backoff=0, dont_retry_on=[ValueError])
    result = sent.enqueue()
    run_jobs()
    stored = tasks.fail.get_result(result.id)
    assert stored.attempts == 1
    assert stored.task.dont_retry_on == ("builtins.ValueError",)
    again = tasks.fail.using(max_attempts=2, backoff=0).enqueue()
    run_jobs()
    again.refresh()
    assert again.attempts == 2


def test_the_backports_decorator_works_where_django_has_its_own(storage_alias):
    backport = pytest.importorskip("django_tasks", reason="the backport is not installed")
    made = backport.task(tasks.add.func)
    result = made.enqueue(1, 1)
    assert jobs(storage_alias).get().task_name == "tests.tasksapp.tasks.add"
    assert type(result) is TaskResult


@task(expires=timedelta(hours=3), tags=["own"], metadata={"own": 1})
def expiring(a, b=0):
    pass


@task(priority=0)
def routed(a, b=0):
    pass


SENT = [
    {},
    {"priority": 5, "queue_name": "sums"},
    {"max_attempts": 1, "timeout": 1800},  # as the settings have it
    {"max_attempts": 7, "timeout": None},
    {"run_after": timedelta(hours=1), "expires_at": timedelta(hours=2)},
    {"tags": ["a", "b"], "metadata": {"key": [1, None]}},
    {"retention": 60, "result_ttl": 30, "store_result": False},
    {"backoff": [1, 2], "retry_on": [OSError, "CODE"], "on_lost": "fail"},
]


@pytest.mark.parametrize("made", [tasks.add, expiring, routed], ids=lambda task: task.name)
@pytest.mark.parametrize("options", SENT, ids=lambda options: "-".join(options) or "none")
def test_the_result_of_an_enqueue_equals_the_one_that_is_read(storage_alias, settings, made, options):
    default = settings.TASKS["default"]
    more = {"PRIORITY": 3, "RESULT_TTL": 90, "ROUTES": {"*.routed": {"queue_name": "far", "max_retries": 2}}}
    settings.TASKS = {"default": {**default, "OPTIONS": default["OPTIONS"] | more}}
    result = made.using(**options).enqueue(1, b=2)
    assert made.get_result(result.id) == result
    assert compat.task_backends["default"].get_result(result.id) == result


@pytest.mark.parametrize("made", [tasks.add, expiring], ids=lambda task: task.name)
def test_a_result_has_the_task_that_was_enqueued(storage_alias, made):
    result = made.enqueue(1)
    assert result.task == made == made.get_result(result.id).task
    sent = made.using(priority=5, tags=["a"], metadata={"b": 1}, retention=60, max_attempts=4)
    result = sent.enqueue(1)
    assert result.task == sent == made.get_result(result.id).task


def priorities(alias):
    return list(jobs(alias).order_by("id").values_list("priority", flat=True))


def test_a_priority_of_zero_overrides_the_settings(storage_alias, settings):
    default = settings.TASKS["default"]
    routes = {"*.noop": {"priority": 4, "queue_name": "far", "on_lost": "fail"}}
    settings.TASKS = {"default": {**default, "OPTIONS": default["OPTIONS"] | {"PRIORITY": 9}}}
    tasks.add.enqueue(1)
    tasks.add.using(priority=0).enqueue(1)
    tasks.add.using(priority=0).using(priority=None).enqueue(1)
    pickle.loads(pickle.dumps(tasks.add.using(priority=0))).enqueue(1)
    task(name="zero", priority=0)(tasks.add.func).enqueue(1)
    registry._tasks.pop("zero")
    assert priorities(storage_alias) == [9, 0, 9, 0, 0]
    # What is named is not left to a route either, be it the default.
    settings.TASKS = {"default": {**default, "OPTIONS": default["OPTIONS"] | {"ROUTES": routes}}}
    jobs(storage_alias).all().delete()
    tasks.noop.enqueue()
    tasks.noop.using(priority=0, queue_name="default", on_lost="retry").enqueue()
    rows = jobs(storage_alias).order_by("id").values_list("priority", "queue_name", "options")
    assert list(rows) == [(4, "far", '{"on_lost":"fail"}'), (0, "default", "")]


def test_the_frameworks_own_decorator_leaves_the_priority_to_the_settings(storage_alias, settings):
    default = settings.TASKS["default"]
    settings.TASKS = {"default": {**default, "OPTIONS": default["OPTIONS"] | {"PRIORITY": 9}}}
    module = compat.BaseTaskBackend.__module__.partition(".backends")[0]
    made = importlib.import_module(module).task(tasks.noop.func)
    made.enqueue()
    made.using(priority=0).enqueue()
    assert priorities(storage_alias) == [9, 0]


@pytest.mark.parametrize("priority", [-101, 101, 3.1, "high", True])
def test_a_priority_out_of_bounds_is_refused_as_by_django(priority):
    with pytest.raises(compat.InvalidTask, match="must be a whole number between -100 and 100"):
        tasks.add.using(priority=priority)
    with pytest.raises(compat.InvalidTask):
        task(priority=priority)(tasks.add.func)


def test_a_job_of_an_alias_that_is_gone_can_be_read(storage_alias, settings):
    default = settings.TASKS["default"]
    settings.TASKS = {"default": default, "former": default}
    result = tasks.add.using(backend="former").enqueue(1, b=2)
    with pytest.raises(compat.TaskResultDoesNotExist):
        tasks.add.get_result(result.id)  # it is another backend's
    settings.TASKS = {"default": default}
    for read in (compat.task_backends["default"].get_result(result.id), tasks.add.get_result(result.id)):
        assert (read.id, read.backend, read.task.backend, read.args) == (result.id, "former", "former", [1])
    jobs(storage_alias).update(status="SUCCESSFUL", result="3")
    read.refresh()
    result.refresh()
    assert (read.return_value, result.get(timeout=0)) == (3, 3)
    async_to_sync(read.arefresh)()
    settings.TASKS = {"default": {"BACKEND": "django_tasks_q.backends.DummyBackend"}}
    with pytest.raises(compat.InvalidTaskBackend):
        read.refresh()


@pytest.mark.django_db
def test_a_result_of_a_type_that_json_lacks_is_a_type_error():
    result = tasks.answer.enqueue("object")
    run_jobs()
    result.refresh()
    (error,) = result.errors
    assert (error.exception_class, error.code) == (TypeError, "RESULT_UNSTORABLE")
    assert "Unsupported type: The return value is of type builtins.object" in error.traceback


class Urgency(models.IntegerChoices):
    HIGH = 9, "High"


class Queues(models.TextChoices):
    MAIL = "mail", "Mail"


@task(name="test_backend.answer_safely")
def answer_safely(kind):
    values = {
        "safe": mark_safe("<b>"),
        "html": format_html("<b>{}</b>", "&"),
        "choices": {Queues.MAIL: [Queues.MAIL, Urgency.HIGH]},
        "lazy": gettext_lazy("Yes"),
    }
    return values[kind]


@pytest.mark.parametrize(
    ("kind", "stored"),
    [("safe", "<b>"), ("html", "<b>&amp;</b>"), ("choices", {"mail": ["mail", 9]}), ("lazy", "Yes")],
)
def test_what_extends_json_types_is_stored_wherever_it_is_given(storage_alias, kind, stored):
    value = answer_safely.func(kind)
    tag = "a tag" if isinstance(value, dict) else value
    sent = answer_safely.using(
        priority=Urgency.HIGH, queue_name=Queues.MAIL, tags=[tag], metadata={kind: value}
    )
    with translation.override("en"):
        result = sent.enqueue(mark_safe(kind))
        run_jobs()
    result.refresh()
    job = jobs(storage_alias).get(id=result.id)
    assert (job.status, job.args, result.return_value) == ("SUCCESSFUL", [kind], stored)
    assert (job.priority, job.queue_name) == (9, "mail")
    assert json.loads(job.metadata) == {kind: stored}
    assert json.loads(job.tags) == ["a tag" if isinstance(value, dict) else stored]
    assert {type(part) for part in (*sent.tags, sent.queue_name)} == {str}
    assert type(sent.priority) is int
