"""The deadline of database calls, where the driver heeds signals and where it does not."""

import signal
import time
from types import FunctionType

import pytest

from django_tasks_q.worker import database_timeout
from django_tasks_q.worker.database_timeout import DatabaseTimeout, DatabaseTimeoutReached
from django_tasks_q.worker.lease import KILL, RENEW


def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


#: The same in a module that asks databases.
ask = FunctionType(wait.__code__, {"__name__": "django_tasks_q.storage.anything", "time": time})


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(database_timeout, "AGAIN", 0.02)
    handler = signal.getsignal(signal.SIGALRM)
    made = DatabaseTimeout()
    made.seconds = 0.05
    yield made
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize(
    ("lease", "seconds"), [(2.0, 0.75), (4.0, 1.5), (8.0, 2.0), (60.0, 12.0), (600.0, 15.0)]
)
def test_two_calls_that_hang_leave_time_to_renew_the_lease(lease, seconds):
    handler = signal.getsignal(signal.SIGALRM)
    try:
        assert DatabaseTimeout(lease).seconds == seconds
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert RENEW * lease + 2 * seconds <= KILL * lease


def test_a_call_that_takes_too_long_is_ended(short):
    with pytest.raises(DatabaseTimeoutReached, match=r"within 0\.05 seconds"), short:
        ask(10)
    ask(0.1)  # and no call behind the block


def test_what_cleans_up_after_it_is_ended_too(short):
    def call():
        try:
            ask(10)
        finally:
            ask(10)

    with pytest.raises(DatabaseTimeoutReached) as caught, short:
        call()
    assert isinstance(caught.value.__context__, DatabaseTimeoutReached)


def test_what_is_between_two_calls_is_not_interrupted_and_the_next_call_is(short):
    with pytest.raises(DatabaseTimeoutReached), short:
        wait(0.1)
        done = True
        ask(10)
    assert done


def test_one_alarm_goes_off_once_until_python_has_handled_it(short):
    # A driver in C that is waiting counts from the start after each signal: libmariadb 3.3.19 does.
    with short:
        assert signal.getitimer(signal.ITIMER_REAL)[1] == 0
        wait(0.1)
        assert signal.getitimer(signal.ITIMER_REAL)[1] == 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
