from datetime import timedelta

import pytest

from django_tasks_q import Backoff
from django_tasks_q.exceptions import TaskTimeout
from django_tasks_q.lifecycle.retry import RetryRule, checked_matchers, matches


def waits(backoff, count=4):
    return [backoff.expected().delay(retry) for retry in range(1, count + 1)]


def test_the_default_doubles_from_ten_seconds_to_an_hour():
    assert waits(Backoff(), 11) == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


def test_a_number_is_a_fixed_wait():
    assert waits(Backoff.of(5)) == [5, 5, 5, 5]
    assert waits(Backoff.of(timedelta(minutes=1)), 1) == [60]


def test_a_list_names_the_waits_and_its_last_one_repeats():
    assert waits(Backoff.of([60, timedelta(minutes=5)])) == [60, 300, 300, 300]


def test_a_growing_wait_never_overflows():
    assert Backoff.exponential(base=1, factor=10, maximum=100).expected().delay(30_000) == 100


def test_full_jitter_spreads_over_the_whole_wait():
    delays = [Backoff(base=100).delay(1) for _ in range(500)]
    assert all(0 <= delay <= 100 for delay in delays)
    assert min(delays) < 20
    assert max(delays) > 80


def test_a_fixed_wait_has_no_jitter():
    assert {Backoff.of(5).delay(1) for _ in range(20)} == {5.0}


@pytest.mark.parametrize("value", ["5", None, True, object(), [1, "2"], {"jitter": "x"}])
def test_a_wait_of_the_wrong_type_is_refused(value):
    with pytest.raises(TypeError):
        Backoff.of(value)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), [], {"jitter": 2}, timedelta(days=-1)])
def test_a_wait_out_of_bounds_is_refused(value):
    with pytest.raises(ValueError, match="backoff"):
        Backoff.of(value)


def rule(**options):
    return RetryRule(**{"max_attempts": 3, "backoff": Backoff.of(7), **options})


@pytest.mark.parametrize(
    ("options", "exception", "code", "attempts", "delay"),
    [
        ({}, ValueError(), "X", 1, 7),
        ({}, ValueError(), "X", 2, 7),
        ({}, ValueError(), "X", 3, None),
        ({"max_attempts": 1}, ValueError(), "X", 1, None),
        ({"retry_on": (OSError,)}, ValueError(), "X", 1, None),
        ({"retry_on": (OSError,)}, ConnectionError(), "X", 1, 7),
        ({"retry_on": ("builtins.OSError",)}, ConnectionError(), "X", 1, 7),
        ({"retry_on": ("X",)}, ValueError(), "X", 1, 7),
        ({"retry_on": ()}, ValueError(), "X", 1, None),
        ({"dont_retry_on": (ValueError,)}, ValueError(), "X", 1, None),
        ({"retry_on": (OSError,), "dont_retry_on": (BrokenPipeError,)}, BrokenPipeError(), "X", 1, None),
        ({}, TimeoutError(), "X", 1, 7),
        ({}, TaskTimeout(), "TASK_TIMEOUT", 1, None),
        *[
            ({"retry_on": (matcher,)}, TaskTimeout(), "TASK_TIMEOUT", 1, 7)
            for matcher in (
                TaskTimeout,
                TimeoutError,
                OSError,
                Exception,
                "TASK_TIMEOUT",
                "builtins.TimeoutError",
                "builtins.Exception",
                "django_tasks_q.exceptions.TaskTimeout",
            )
        ],
        ({"retry_on": (ConnectionError, ValueError)}, TaskTimeout(), "TASK_TIMEOUT", 1, None),
        ({"retry_on": (OSError,), "dont_retry_on": (TimeoutError,)}, TaskTimeout(), "X", 1, None),
        ({"backoff": lambda exception, result: None}, ValueError(), "X", 1, None),
        ({"backoff": lambda exception, result: timedelta(minutes=1)}, ValueError(), "X", 1, 60),
    ],
)
def test_a_rule_answers_the_delay_or_none(options, exception, code, attempts, delay):
    assert rule(**options).delay(exception, code, attempts, object) == delay


def test_a_callable_that_answers_nonsense_is_an_error():
    with pytest.raises(TypeError):
        rule(backoff=lambda exception, result: "soon").delay(ValueError(), "X", 1, object)


def test_matchers_are_exceptions_and_codes_only():
    assert checked_matchers(OSError, "retry_on") == (OSError,)
    assert checked_matchers(["CODE", OSError], "retry_on") == ("CODE", OSError)
    for value in (1, int, [None], ""):
        with pytest.raises(TypeError, match="retry_on takes exception classes and error codes"):
            checked_matchers(value, "retry_on")


def test_matching_goes_by_subclass():
    assert matches(BrokenPipeError(), "X", [OSError])
    assert not matches(OSError(), "X", [BrokenPipeError])
