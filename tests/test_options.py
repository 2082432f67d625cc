"""Bad options are refused where they are given, in one sentence that says what to do."""

import math
from typing import Annotated

import pytest

from django_tasks_q import BoundTask, Depends, TaskFailure, task
from django_tasks_q.backends import DatabaseBackend
from django_tasks_q.conf import Options
from django_tasks_q.definition.registry import Registry
from django_tasks_q.exceptions import DuplicateTask, TaskNotRegistered
from django_tasks_q.validation import kept_seconds

from .tasksapp import tasks


def plain():
    """Do it.

    And more of it.
    """


def generator():
    yield 1


async def asynchronous():
    pass


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"aliases": "old"}, TypeError, "aliases must be a list of strings"),
        ({"aliases": [""]}, ValueError, "each of aliases must be 1 to 255"),
        ({"description": 5}, TypeError, "description must be a string"),
        ({"tags": "billing"}, TypeError, "tags must be a list of strings"),
        ({"tags": ["x" * 65]}, ValueError, "each of tags must be 1 to 64"),
        ({"metadata": ["a"]}, TypeError, "metadata must be a dict"),
        ({"metadata": {1: 2}}, TypeError, "JSON keys are strings"),
        ({"metadata": {"a": "x" * 20_000}}, ValueError, "the limit is 16,384"),
        ({"error_codes": ["A"]}, TypeError, "error_codes must be a dict"),
        ({"error_codes": {int: "A"}}, TypeError, "error_codes takes exception classes"),
        ({"error_codes": {ValueError: "x" * 65}}, ValueError, "error_codes code must be 1 to 64"),
        ({"default_error_code": ""}, ValueError, "default_error_code must be"),
        ({"store_result": 1}, TypeError, "store_result must be True or False"),
        ({"strict": "yes"}, TypeError, "strict must be True or False"),
        ({"atomic": 1}, TypeError, "atomic must be True or False"),
        ({"result_ttl": -1}, ValueError, "result_ttl must be between"),
        ({"retention": "a week"}, TypeError, "retention must be a number of seconds"),
        ({"result_encoder": 5}, TypeError, "result_encoder must be a pair of callables"),
        ({"result_encoder": "nowhere"}, TypeError, "the dotted path of one"),
        ({"middleware": "a.b"}, TypeError, "middleware must be a list"),
        ({"middleware": [5]}, TypeError, "middleware takes callables and dotted paths"),
        ({"capture_logs": "LOUD"}, ValueError, "capture_logs must be True, False or a level"),
        ({"on_yield": print}, TypeError, "on_yield"),
        ({"sensitive": "token"}, TypeError, "sensitive must be a list of strings"),
        ({"api": "yes"}, TypeError, "api must be True, False or a callable"),
        ({"tag": ["a"]}, TypeError, "Did you mean 'tags'"),
    ],
)
def test_a_bad_option_is_refused_at_decoration(options, error, says):
    with pytest.raises(error, match=says):
        task(name="refused", **options)(plain)


def test_what_a_generator_cannot_have_is_refused_at_decoration():
    async def handler(value):
        pass

    with pytest.raises(TypeError, match="must be a plain function"):
        task(name="refused", on_yield=handler)(generator)
    with pytest.raises(TypeError, match="on_yield"):
        task(name="refused", on_yield=5)(generator)


def test_what_cannot_be_depended_on_is_refused_at_decoration():
    def asks(value: Annotated[int, Depends(asynchronous)]):
        pass

    with pytest.raises(TypeError, match="asynchronous"):
        task(name="refused")(asks)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"PRIORITY": 101}, "PRIORITY must be between -100 and 100"),
        ({"ROUTES": ["a"]}, "ROUTES must be a dict"),
        ({"ROUTES": {"a.*": 5}}, "must be a dict of options"),
        ({"ROUTES": {"a.*": {"queue": "b"}}}, r"ROUTES\['a.\*'\].*Did you mean 'queue_name'"),
        ({"ROUTES": {"a.*": {"priority": 1000}}}, r"ROUTES\['a.\*'\]: priority must be"),
        ({"ROUTES": {"a.*": {"run_after": None}}}, "'run_after' is not a task option"),
        ({"TASK_MODULES": "shop.jobs"}, "TASK_MODULES must be a list"),
        ({"ERROR_CODES": {"a": 5}}, "ERROR_CODES code must be a string"),
        ({"DEFAULT_ERROR_CODE": ""}, "DEFAULT_ERROR_CODE must be"),
        ({"STORE_RESULT": "no"}, "STORE_RESULT must be True or False"),
        ({"RESULT_TTL": 0}, "RESULT_TTL must be between"),
        ({"ENCODER": object()}, "ENCODER must be a pair"),
        ({"STRICT": 1}, "STRICT must be True or False"),
        ({"MIDDLEWARE": [5]}, "MIDDLEWARE takes callables"),
        ({"CAPTURE_LOGS": 3.5}, "CAPTURE_LOGS must be"),
    ],
)
def test_a_bad_setting_is_one_sentence(options, says):
    (problem,) = Options.problems(options)
    with pytest.raises(ValueError, match=says):
        raise ValueError(problem)


def test_a_task_is_described_by_its_docstring_until_it_says_otherwise():
    assert tasks.leave.description == "Count that this ran."
    assert tasks.noop.description == ""


def test_defaults_give_way_to_what_a_task_says():
    decorator = task.defaults(
        queue_name="reports", max_attempts=3, tags=["report"], metadata={"a": 1, "b": 1}
    )
    decorator = decorator.defaults(priority=5)
    first = decorator(name="first")(plain)
    assert (first.queue_name, first.max_attempts, first.priority) == ("reports", 3, 5)
    second = decorator(name="second", max_retries=0, queue_name="urgent", tags=["mine"], metadata={"b": 2})(
        plain
    )
    assert (second.queue_name, second.max_attempts) == ("urgent", 1)
    assert second.tags == ("report", "mine")
    assert second.metadata == {"a": 1, "b": 2}


@pytest.mark.parametrize("own", [{"name": "a"}, {"aliases": ["a"]}, {"description": "a"}])
def test_what_belongs_to_one_task_is_no_default(own):
    with pytest.raises(TypeError, match="belongs to one task"):
        task.defaults(**own)


def test_a_bad_default_is_refused_at_once():
    with pytest.raises(ValueError, match="priority must be a whole number between -100 and 100"):
        task.defaults(priority=1000)
    with pytest.raises(TypeError, match="run_after belongs to one send"):
        task.defaults(run_after=None)


def test_a_send_adds_tags_and_merges_metadata():
    tagged = task(name="tagged", tags=["a"], metadata={"x": 1, "y": 1})(plain)
    sent = tagged.using(tags=["b", "a"], metadata={"y": 2})
    assert (sent.tags, sent.metadata) == (("a", "b"), {"x": 1, "y": 2})
    assert sent.using(tags=None, metadata=None).tags == ()
    assert tagged.tags == ("a",)


def test_an_alias_leads_to_its_task_and_is_nobody_elses():
    registry = Registry()
    kept = task(name="kept", aliases=["former"])(plain)
    registry.register(kept)
    assert registry.get("former") is kept
    assert "former" in registry
    assert registry.names() == ["former", "kept"]
    assert list(registry) == [kept]
    other = task(name="another")(generator)
    for changes in ({"name": "former"}, {"name": "other", "aliases": ("kept",)}, {"aliases": ("former",)}):
        with pytest.raises(DuplicateTask, match=r"test_options\.plain.*test_options\.generator"):
            registry.register(other._copy(**changes))
    assert len(registry.clashes) == 3
    with pytest.raises(TaskNotRegistered, match="Did you mean 'former'"):
        registry.get("forme")


def test_times_to_keep_something_have_three_digits():
    for exact in (0.001, 0.5, 59.99, 86_399.53, 604_800.0, 31_536_000.0):
        kept = kept_seconds(exact, "retention")
        assert exact <= kept <= exact * 1.01
        assert kept == kept_seconds(kept, "retention")
    assert kept_seconds(3600, "retention") == 3600
    assert len({kept_seconds(seconds, "x") for seconds in range(10_000, 100_000)}) == 901


def test_a_bound_call_is_checked_when_it_is_made():
    with pytest.raises(TypeError, match="missing a required argument"):
        tasks.add.bind()
    for text in ("{}", "[]", '{"task": "named.task"}', '{"task": 5, "arguments": [[], {}]}'):
        with pytest.raises((ValueError, TaskNotRegistered)):
            BoundTask.from_json(text)
    with pytest.raises(TypeError, match="unexpected"):
        BoundTask.from_json(
            '{"task": "named.task", "arguments": [[5], {}]}'.replace("[5], {}", '[], {"x": 1}')
        )


def test_the_data_of_a_failure_is_optional_and_kept():
    assert TaskFailure("CODE").data is None
    assert TaskFailure("CODE", "why", data={"id": 1}).data == {"id": 1}
    assert math.isnan(TaskFailure("CODE", data=float("nan")).data)


def test_a_route_gives_what_a_task_leaves_open(settings):
    backend = DatabaseBackend("default", {"OPTIONS": {"ROUTES": {
        "routed.*": {"queue_name": "first", "max_retries": 4},
        "routed.by*": {"queue_name": "second", "timeout": 5},
    }}})  # fmt: skip
    from django_tasks_q.definition.routing import routed

    options = routed("routed.by.name", backend.settings.routes)
    assert options == {"queue_name": "first", "max_attempts": 5, "timeout": 5.0}
    by_name = task(name="routed.by.name", queue_name="own")(plain)
    sent = by_name.routed(options)
    assert (sent.queue_name, sent.max_attempts, sent.timeout) == ("own", 5, 5.0)
    assert routed("elsewhere", backend.settings.routes) == {}
