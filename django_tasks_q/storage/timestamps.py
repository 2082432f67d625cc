"""Timestamps: dates and times as microseconds since the start of the year 2000 in UTC, as in PostgreSQL.

A claimed job carries them from the database to the process that runs it, where they are rarely read. To build
a datetime for each, and a text of it for the pipe, would cost more than the rest of the way.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils import timezone

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Return a datetime as a number. A naive one is in the current zone, as in Django without ``USE_TZ``."""
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment)
    return (moment - _EPOCH) // _MICROSECOND


def boot_time() -> float:
    """Return the seconds on a clock that never jumps, and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class DatabaseClock:
    """The database's time by a clock of this machine. It may be ahead of the database, never behind."""

    def __init__(self) -> None:
        #: Microseconds from the boot of this machine to the database's epoch; None until it has been set.
        self.offset: int | None = None

    def set(self, moment: int, asked_at: float) -> None:
        """Set the clock by a time of the database, which was queried at ``asked_at`` by ``boot_time()``."""
        self.offset = moment - int(asked_at * 1e6)

    def use_offset(self, offset: int | None) -> None:
        """Agree with the clock of another process of this machine."""
        self.offset = offset

    def is_past(self, moment: int | None) -> bool:
        """Return whether a time is past. None never is."""
        return self.seconds_to(moment) <= 0

    def seconds_to(self, moment: int | None) -> float:
        """Return the seconds until a time, negative if it is past; infinite for None."""
        if moment is None or self.offset is None:
            return float("inf")
        return (moment - self.offset) / 1e6 - boot_time()


def moment(microseconds: int) -> datetime:
    """Return the datetime of such a number: in UTC, or naive in the current time zone without ``USE_TZ``."""
    return native(_EPOCH + timedelta(microseconds=microseconds))


def native(moment: datetime) -> datetime:
    """Return a datetime as Django has it: aware, or without ``USE_TZ`` naive in its time zone."""
    if settings.USE_TZ:
        return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
    return moment if timezone.is_naive(moment) else timezone.make_naive(moment)


def local(moment: datetime) -> datetime:
    """Return a datetime in the current time zone. A naive one is in it already."""
    return moment if timezone.is_naive(moment) else timezone.localtime(moment)
