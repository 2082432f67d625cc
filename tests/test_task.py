import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from django_tasks_q import Backoff, compat, task
from django_tasks_q.definition.options import DEFAULT
from django_tasks_q.definition.registry import Registry, registry
from django_tasks_q.definition.task import Task
from django_tasks_q.exceptions import DuplicateTask
from django_tasks_q.lifecycle.retry import OnLost

from .tasksapp import tasks


def plain(value, other=1):
    """A function for the tests of this module to decorate."""
    return value, other


def with_context(context, value):
    return context, value


def make(**options):
    options.setdefault("name", "test.made")
    return Task(func=plain, **options)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    known = dict(registry._tasks)
    monkeypatch.setattr(registry, "_tasks", known)


def test_the_decorator_works_bare_and_with_options():
    assert task(plain).func is plain
    assert task(priority=3)(plain).priority == 3
    assert task()(plain).priority == 0


def test_a_task_is_djangos_task():
    assert isinstance(task(plain), compat.Task)


def test_options_have_defaults_that_the_backend_resolves():
    made = task(plain)
    assert (made.queue_name, made.priority, made.backend, made.takes_context) == (
        "default",
        0,
        "default",
        False,
    )
    assert (made.max_attempts, made.backoff, made.retry_on, made.timeout) == (None, None, None, DEFAULT)


def test_the_name_is_the_module_path_unless_given():
    assert task(plain).name == "tests.test_task.plain"
    assert make(name="billing.charge").name == "billing.charge"
    assert make(name="billing.charge").module_path == "tests.test_task.plain"


def test_calling_a_task_runs_its_function():
    assert task(plain)(1, other=2) == (1, 2)
    assert task(plain).call(1) == (1, 1)


async def call(made, *args):
    return await made.acall(*args)


def test_a_coroutine_function_is_awaited_by_call():
    assert tasks.async_add.call(1, 2) == 3


def test_retries_are_attempts_less_one():
    assert make(max_retries=2).max_attempts == 3
    assert make(max_retries=0).max_attempts == 1
    with pytest.raises(TypeError, match="not both"):
        make(max_retries=2, max_attempts=3)


def test_none_stands_for_the_default():
    made = task(dont_retry_on=None, retry_on=None, backend=None, priority=None, queue_name=None)(plain)
    assert (made.dont_retry_on, made.backend, made.priority, made.queue_name) == ((), "default", 0, "default")
    assert make(timeout=None).timeout is None


def test_durations_may_be_timedeltas():
    assert make(timeout=timedelta(minutes=2)).timeout == 120
    assert make(backoff=timedelta(minutes=2)).backoff == Backoff.fixed(120)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"timeot": 3}, TypeError, "'timeot' is not a task option. Did you mean 'timeout'?"),
        ({"max_attempt": 3}, TypeError, "Did you mean 'max_attempts'?"),
        ({"run_after": timedelta(1)}, TypeError, r"use \.using\(run_after"),
        ({"max_attempts": 0}, ValueError, "max_attempts must be between 1"),
        ({"max_attempts": "3"}, TypeError, "max_attempts must be a whole number"),
        ({"max_attempts": True}, TypeError, "max_attempts must be a whole number"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"timeout": 0}, ValueError, "timeout must be between"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"backoff": "1"}, TypeError, "backoff"),
        ({"retry_on": 3}, TypeError, "retry_on takes exception classes"),
        ({"priority": 101}, ValueError, "priority must be a whole number between -100 and 100"),
        ({"priority": "high"}, TypeError, "priority must be a whole number"),
        ({"queue_name": ""}, ValueError, "queue_name"),
        ({"queue_name": "a\nb"}, ValueError, "queue_name"),
        ({"queue_name": "x" * 129}, ValueError, "queue_name"),
        ({"executor": "fork"}, ValueError, "executor must be 'process', 'thread', 'async' or a dotted path"),
        ({"executor": 3}, TypeError, "executor must be a string"),
        ({"executor": "async"}, TypeError, "executor='async' runs coroutine functions only: use 'thread'"),
        ({"on_lost": "ignore"}, ValueError, "on_lost must be 'retry' or 'fail', not 'ignore'"),
        ({"expires": -1}, ValueError, "expires must be between"),
        ({"expires_at": timedelta(1)}, TypeError, "Did you mean 'expires'?"),
        ({"atomic": 1}, TypeError, "atomic must be True or False"),
        ({"name": 3}, TypeError, "name must be a string"),
        ({"name": "x" * 256}, ValueError, "name must be 1 to 255"),
    ],
)
def test_a_bad_option_is_refused_at_decoration(options, error, words):
    with pytest.raises(error, match=words):
        task(**options)(plain)


def test_a_nested_function_is_refused():
    def nested():
        pass

    with pytest.raises(compat.InvalidTask, match="module level"):
        task(nested)


def test_a_task_with_context_needs_the_parameter():
    with pytest.raises(compat.InvalidTask, match="first argument of 'context'"):
        task(takes_context=True)(plain)
    assert task(takes_context=True)(with_context).takes_context


def test_something_that_is_no_function_is_refused():
    with pytest.raises(TypeError, match="decorates a function"):
        task("name")


def test_a_queue_outside_of_queues_is_refused(settings):
    backend = settings.TASKS["default"]
    settings.TASKS = {"default": {**backend, "QUEUES": ["default", "mail"]}}
    assert task(queue_name="mail")(plain).queue_name == "mail"
    with pytest.raises(compat.InvalidTask, match="Queue 'fax' is not valid"):
        task(queue_name="fax")(plain)
    with pytest.raises(compat.InvalidTask, match="Queue 'fax' is not valid"):
        task(plain).using(queue_name="fax")


def test_an_unknown_backend_is_refused():
    with pytest.raises(compat.InvalidTaskBackend):
        task(backend="nowhere")(plain)


def test_using_changes_a_copy():
    made = make(priority=1)
    copy_ = made.using(priority=2, timeout=5, max_attempts=4, backoff=9, retry_on=OSError)
    assert (made.priority, made.timeout) == (1, DEFAULT)
    assert (copy_.priority, copy_.timeout, copy_.max_attempts) == (2, 5.0, 4)
    assert copy_.backoff == Backoff.fixed(9)
    assert copy_.retry_on == (OSError,)
    assert copy_.func is made.func
    assert type(copy_) is Task


def test_using_none_takes_an_option_back_to_its_default():
    made = make(priority=5, max_attempts=3, backoff=1).using(run_after=timedelta(hours=1))
    reset = made.using(priority=None, max_attempts=None, backoff=None, run_after=None)
    assert (reset.priority, reset.max_attempts, reset.backoff, reset.run_after) == (0, None, None, None)


def test_using_no_timeout_means_no_limit():
    assert make(timeout=5).using(timeout=None).timeout is None


def test_a_relative_run_after_counts_from_now():
    before = timezone.now()
    run_after = make().using(run_after=timedelta(hours=1)).run_after
    assert before + timedelta(hours=1) <= run_after <= timezone.now() + timedelta(hours=1)


def test_a_naive_run_after_is_refused():
    with pytest.raises(compat.InvalidTask, match="aware"):
        make().using(run_after=datetime(2030, 1, 1))
    assert make().using(run_after=datetime(2030, 1, 1, tzinfo=UTC)).run_after.year == 2030


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeot": 1}, TypeError),
        ({"name": "other"}, TypeError),
        ({"takes_context": True}, TypeError),
        ({"run_after": "tomorrow"}, TypeError),
        ({"expires_at": "tomorrow"}, TypeError),
        ({"expires_at": datetime(2040, 1, 1)}, ValueError),
        ({"on_lost": "ignore"}, ValueError),
        ({"executor": "thread"}, TypeError),
        ({"atomic": True}, TypeError),
        ({"expires": 1}, TypeError),
        ({"backoff": lambda exception, result: 1}, TypeError),
        ({"priority": 1000}, ValueError),
    ],
)
def test_a_bad_option_is_refused_by_using(options, error):
    with pytest.raises(error):
        make().using(**options)


def test_a_callable_backoff_of_the_definition_stays():
    made = make(backoff=len)
    assert made.using(priority=1).backoff is len


def test_two_functions_under_one_name_are_refused_naming_both():
    make(name="twice")
    with pytest.raises(
        DuplicateTask, match=r"'twice' is taken by tests.test_task.plain; tests.test_task.with"
    ):
        Task(func=with_context, name="twice")


def test_a_module_that_is_loaded_again_is_no_clash():
    names = Registry()
    first = make()
    again = make()
    names.register(first)
    names.register(again)
    assert names.get("test.made") is first


def test_copies_do_not_register():
    made = make()
    made.using(priority=9)
    replace(made, priority=8)
    assert registry.get("test.made") is made


def test_an_unknown_name_has_a_suggestion():
    make(name="billing.charge")
    with pytest.raises(LookupError, match=r"Did you mean 'billing\.charge'"):
        registry.get("billing.charg")


def test_a_task_copies_as_itself():
    made = make(backoff=[1, 2])
    assert copy.copy(made) is made
    assert copy.deepcopy(made) is made


def test_a_task_pickles_with_its_options():
    sent = tasks.named.using(priority=42, timeout=3, backoff=[1, 2], retry_on=OSError)
    back = pickle.loads(pickle.dumps(sent))
    assert back == sent
    assert back.func is tasks.named.func
    assert hash(back) == hash(sent)


def test_an_unknown_stored_name_becomes_a_placeholder_without_import():
    modules = set(sys.modules)
    placeholder = Task.restored("antigravity.fly", queue_name="gone", backend="gone", priority=3)
    assert (placeholder.name, placeholder.module_path) == ("antigravity.fly", "antigravity.fly")
    assert (placeholder.queue_name, placeholder.priority) == ("gone", 3)
    with pytest.raises(LookupError):
        placeholder()
    assert "antigravity" not in sys.modules
    assert set(sys.modules) == modules


def test_arguments_are_bound_to_the_signature():
    made = make()
    made.check_arguments([1], {"other": 2})
    for args, kwargs in [([], {}), ([1, 2, 3], {}), ([1], {"another": 2})]:
        with pytest.raises(TypeError, match=r"test.made\(\): "):
            made.check_arguments(args, kwargs)


def test_the_context_is_not_the_callers_to_pass():
    made = task(takes_context=True)(with_context)
    made.check_arguments([1], {})
    with pytest.raises(TypeError):
        made.check_arguments([1, 2], {})


def test_django_own_decorator_makes_our_tasks(settings):
    module = "django.tasks" if compat.BaseTaskBackend.__module__.startswith("django.") else "django_tasks"
    decorator = __import__(module, fromlist=["task"]).task
    made = decorator(plain)
    assert type(made) is Task
    assert registry.get("tests.test_task.plain") is made


def test_a_plain_task_is_adopted():
    made = compat.Task(
        func=plain,
        priority=4,
        backend="default",
        queue_name="default",
        run_after=None,
        takes_context=False,
    )
    ours = Task.adopt(made)
    assert (type(ours), ours.priority, ours.name) == (Task, 4, "tests.test_task.plain")
    assert "tests.test_task.plain" in registry


@pytest.mark.parametrize("alias", ["immediate", "dummy"])
def test_the_test_backends_take_our_options(settings, alias):
    path = {"immediate": "ImmediateBackend", "dummy": "DummyBackend"}[alias]
    settings.TASKS = {"default": {"BACKEND": f"django_tasks_q.backends.{path}"}}
    result = task(max_attempts=3, timeout=5)(plain).enqueue(1)
    assert type(result.task) is Task
    assert result.args == [1]
    if alias == "immediate":
        assert result.return_value == [1, 1]


def test_importing_the_package_needs_no_settings():
    code = "import django_tasks_q; from django_tasks_q import Backoff; print(django_tasks_q.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()


def test_the_loss_of_a_job_is_settled_when_it_is_sent():
    made = make(on_lost="fail")
    assert made.stored_options() == {"on_lost": "fail"}
    assert made.using(on_lost="retry").stored_options() == {}
    assert Task.restored("of.another.release", {"on_lost": "fail"}).on_lost is OnLost.FAIL
    assert Task.restored(made.name, {}).on_lost is OnLost.RETRY


def test_an_expiry_may_be_given_in_both_ways():
    made = make(expires=timedelta(minutes=1))
    assert made.expires == 60.0
    at = made.using(expires_at=timedelta(hours=1)).expires_at
    assert 3590 < (at - timezone.now()).total_seconds() <= 3600
    assert made.using(expires_at=None).expires_at is None
