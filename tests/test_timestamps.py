from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.utils import timezone as zones

from django_tasks_q.storage.timestamps import microseconds, moment


@pytest.mark.parametrize(
    "value",
    [
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ],
)
def test_there_and_back(value):
    assert moment(microseconds(value)) == value


def test_they_are_counted_from_the_year_2000():
    assert microseconds(datetime(2000, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005


def test_without_time_zones_they_are_naive_in_the_current_one(settings):
    settings.USE_TZ = False
    with zones.override("America/New_York"):
        value = datetime(2026, 7, 1, 8)
        assert microseconds(value) == microseconds(datetime(2026, 7, 1, 12, tzinfo=UTC))
        assert moment(microseconds(value)) == value
