"""The alarm of a process child, which rings on from one attempt to the next."""

import signal
import time

import pytest

from django_tasks_q.exceptions import TaskTimeout
from django_tasks_q.execution.alarm import Alarm, AlarmControl


@pytest.fixture
def alarm():
    before = signal.getsignal(signal.SIGALRM)
    yield Alarm()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def run(alarm, timeout, call):
    return AlarmControl(alarm, timeout).run(call, is_coroutine=False)


def spin(seconds):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pass
    return "done"


def test_an_alarm_of_an_earlier_attempt_ends_no_later_one(alarm):
    run(alarm, 0.05, lambda: None)
    assert run(alarm, 60.0, lambda: spin(0.1)) == "done"


def test_it_rings_in_time_for_an_attempt_with_a_shorter_time(alarm):
    run(alarm, 60.0, lambda: None)
    with pytest.raises(TaskTimeout):
        run(alarm, 0.05, lambda: spin(5))


def test_it_rings_again_for_an_attempt_that_it_rang_too_early_for(alarm):
    run(alarm, 0.05, lambda: None)
    begun = time.monotonic()
    with pytest.raises(TaskTimeout):
        run(alarm, 0.2, lambda: spin(5))
    assert 0.2 <= time.monotonic() - begun < 1


def test_an_attempt_without_a_timeout_is_left_alone(alarm):
    run(alarm, 0.05, lambda: None)
    assert run(alarm, None, lambda: spin(0.1)) == "done"


def test_a_task_that_takes_the_alarm_for_itself_does_so_for_its_own_time(alarm):
    run(alarm, 60.0, lambda: signal.setitimer(signal.ITIMER_REAL, 0))
    with pytest.raises(TaskTimeout):
        run(alarm, 0.05, lambda: spin(5))


def test_most_attempts_do_not_wind_it(alarm, monkeypatch):
    run(alarm, 60.0, lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(signal, "setitimer", None)
        for _ in range(3):
            run(alarm, 60.0, lambda: None)
