"""When schedules fire: values only, no database."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import django_tasks_q
from django_tasks_q.timing import (
    MOST_MISSED,
    Cron,
    Every,
    Missed,
    Overlap,
    plan,
    stored_timing,
    timing_of,
    upcoming,
)
from django_tasks_q.validation import plain

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def at(text):
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(timing, after, count=3):
    return [f"{tick:%m-%d %H:%M:%S}" for tick in islice(upcoming(timing, at(after)), count)]


# Clocks that are put forward and back


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *"])
def test_in_the_gap_of_spring_a_time_of_day_fires_once_at_its_end(expression):
    # In Berlin 02:00 becomes 03:00 at 01:00 UTC, in New York at 07:00 UTC.
    assert ticks(Cron(expression, BERLIN), "2026-03-28T00:00") == [
        "03-28 01:30:00", "03-29 01:00:00", "03-30 00:30:00",
    ]  # fmt: skip
    assert ticks(Cron(expression, NEW_YORK), "2026-03-07T00:00") == [
        "03-07 07:30:00", "03-08 07:00:00", "03-09 06:30:00",
    ]  # fmt: skip


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *"])
def test_in_the_repeated_hour_of_autumn_a_time_of_day_fires_once(expression):
    assert ticks(Cron(expression, BERLIN), "2026-10-24T12:00") == [
        "10-25 00:30:00", "10-26 01:30:00", "10-27 01:30:00",
    ]  # fmt: skip
    expression = expression.replace("30 2", "30 1")
    assert ticks(Cron(expression, NEW_YORK), "2026-10-31T12:00") == [
        "11-01 05:30:00", "11-02 06:30:00", "11-03 06:30:00",
    ]  # fmt: skip


def test_within_the_repeated_hour_what_has_fired_does_not_fire_again():
    second = datetime(2026, 10, 25, 2, 10, tzinfo=ZoneInfo(BERLIN), fold=1)
    cron = Cron("30 2 * * *", BERLIN)
    assert cron.next_after(second) == at("2026-10-26T01:30")
    assert cron.last_before(second) == at("2026-10-25T00:30")


def test_several_times_in_the_gap_fire_once_together():
    assert ticks(Cron("0,20,40 2 * * *", BERLIN), "2026-03-29T00:00") == [
        "03-29 01:00:00", "03-30 00:00:00", "03-30 00:20:00",
    ]  # fmt: skip


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_a_rhythm_goes_on_evenly(day):
    timings = [Cron("*/20 * * * *", BERLIN), Every(1200, BERLIN)]
    for timing in timings:
        found = list(islice(upcoming(timing, at(f"{day}T00:00")), 12))
        assert {b - a for a, b in pairwise(found)} == {timedelta(minutes=20)}


EXPRESSIONS = [
    "30 2 * * *",
    "0,30 1-4 * * *",
    "*/20 * * * *",
    "15 30 2 * * *",
    "0 */2 * * *",
    "*/15 30 1,2 * * *",
    "0 0 * * MON",
    "0 12 L * *",
    "* * * * * *",
]
NEAR = [at("2026-03-29T01:00"), at("2026-10-25T01:00"), at("2026-03-08T07:00"), at("2026-11-01T06:00")]


@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from([BERLIN, NEW_YORK, "UTC", "Asia/Kathmandu"]),
    st.sampled_from(NEAR),
    st.integers(-15_000, 15_000),
)
@example("30 2 * * *", BERLIN, NEAR[1], 60)
def test_what_comes_next_came_last(expression, zone, near, offset):
    cron, moment = Cron(expression, zone), near + timedelta(seconds=offset, microseconds=1)
    following = cron.next_after(moment)
    assert following > moment
    assert cron.last_before(following + timedelta(microseconds=1)) == following
    before = cron.last_before(moment)
    assert before < moment
    assert cron.next_after(before) == following


def test_intervals_are_the_same_for_everybody():
    assert ticks(Every(90), "2026-01-01T00:00:30", 2) == ["01-01 00:01:30", "01-01 00:03:00"]
    assert Every(90).last_before(at("2026-01-01T00:01:30")) == at("2026-01-01T00:00")
    assert timing_of(cron=None, every=timedelta(minutes=5), timezone="UTC") == Every(300)


# What is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cron": "61 * * * *"}, "'61 [*] [*] [*] [*]' is no cron expression: Bad minute"),
        ({"cron": "* * *"}, "five fields"),
        ({"cron": "0 0 31 2 *"}, "no cron expression"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berln"}, "Did you mean 'Europe/Berlin'"),
        ({"cron": "0 3 * * *", "timezone": "../etc/passwd"}, "timezone must be the name of one"),
        ({"every": 0.5}, "every must be between 1 and"),
        ({"every": 1.5}, "whole seconds"),
        ({}, "either cron= or every="),
        ({"cron": "0 3 * * *", "every": 5}, "either cron= or every="),
        ({"cron": 5}, "cron must be a string"),
    ],
)
def test_bad_timings_get_one_clear_error(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        timing_of(**{"cron": None, "every": None, "timezone": "UTC", **given})


def test_unknown_policies_are_refused():
    with pytest.raises(ValueError, match="missed must be 'skip' or 'one' or 'all', not 'two'"):
        Missed.of("two")
    with pytest.raises(ValueError, match="overlap must be"):
        Overlap.of("queue")


def test_plain_words():
    assert Cron("0 3 * * *").explain() == "At 03:00 every day"
    assert Every(5400).explain() == "Every 1 hour 30 minutes"
    assert Every(60).explain() == "Every minute"


# What was missed

HOURLY = Cron("0 * * * *")
THREE = at("2026-01-01T03:00")


@pytest.mark.parametrize(
    ("missed", "fired", "left_out"),
    [("one", [6], True), ("all", [3, 4, 5, 6], False), ("skip", [], True)],
)
def test_after_three_hours_the_policy_says_what_is_made_up_for(missed, fired, left_out):
    now = at("2026-01-01T06:20")
    found = plan(HOURLY, THREE, now, Missed(missed))
    assert [tick.hour for tick in found.fire] == fired
    assert found.missed == (THREE if left_out else None)
    assert found.next_at == at("2026-01-01T07:00")


@pytest.mark.parametrize("missed", list(Missed))
def test_a_tick_that_is_hardly_late_is_not_missed(missed):
    found = plan(HOURLY, THREE, THREE + timedelta(seconds=59), missed)
    assert (found.fire, found.missed) == ([THREE], None)


def test_skipping_leaves_the_tick_that_is_on_time():
    found = plan(HOURLY, THREE, at("2026-01-01T06:00:10"), Missed.SKIP)
    assert ([tick.hour for tick in found.fire], found.missed) == ([6], THREE)


def test_no_more_than_so_many_are_made_up_for_however_long_it_was():
    found = plan(Cron("* * * * * *"), THREE, THREE + timedelta(days=4000), Missed.ALL)
    assert len(found.fire) == MOST_MISSED
    assert found.fire[-1] == THREE + timedelta(days=4000)
    assert found.missed == THREE


def test_a_tick_of_an_expression_that_was_changed_since_counts_all_the_same():
    odd = at("2026-01-01T03:17")
    assert plan(HOURLY, odd, at("2026-01-01T03:18"), Missed.ONE).fire == [odd]


@pytest.mark.once
@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1234567, "1234567"),
        (1234567.5, "1234567.5"),
        (0.1 + 0.2, "0.3"),
        (60.0, "60"),
        (100, "100"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (0, "0"),
        (-2.50, "-2.5"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_shown_with_all_their_digits(number, text):
    assert plain(number) == text


@pytest.mark.once
def test_an_interval_keeps_its_digits():
    assert str(Every(1234567)) == "1234567"
    assert stored_timing("every", str(Every(86_400_001)), "UTC") == Every(86_400_001)
    with pytest.raises(ValueError, match="no kind of schedule"):
        stored_timing("moon", "1", "UTC")


@pytest.mark.once
def test_no_text_of_the_package_loses_digits():
    """``:g`` leaves six of them, and writes the rest as an exponent."""
    root = Path(django_tasks_q.__file__).parent
    constants = ("START_TIMEOUT", "PATIENCE", "GRACE")  # of which the digits are known
    found = [
        line.strip()
        for path in root.rglob("*.py")
        for line in path.read_text().splitlines()
        if ":g}" in line and not any(f"{{{name}:g}}" in line for name in constants)
    ]
    assert found == []
