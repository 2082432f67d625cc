"""When schedules fire: cron expressions, intervals, and what becomes of times that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from .validation import seconds, suggestion

#: Seconds by which a tick may be late without being missed.
TOLERANCE = 60.0
#: Most missed ticks that are made up for, the latest ones.
MOST_MISSED = 100

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


class Missed(StrEnum):
    """What becomes of ticks that were due while no worker was running."""

    SKIP = "skip"
    ONE = "one"
    ALL = "all"

    @classmethod
    def of(cls, value: str) -> Missed:
        return cls(_one_of(value, "missed", list(cls)))


class Overlap(StrEnum):
    """What becomes of a tick while the job of an earlier one has not ended."""

    ALLOW = "allow"
    SKIP = "skip"

    @classmethod
    def of(cls, value: str) -> Overlap:
        return cls(_one_of(value, "overlap", list(cls)))


def _one_of(value: str, name: str, known: list[str]) -> str:
    if value not in known:
        raise ValueError(f"{name} must be {' or '.join(repr(str(k)) for k in known)}, not {value!r:.100}.")
    return value


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        known = suggestion(str(name), available_timezones())
        raise ValueError(
            f"timezone must be the name of one, such as 'Europe/Berlin', not {name!r:.100}.{known}"
        ) from None


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields, or six with seconds first, by the clocks of a time zone.

    Where clocks are put forward, what would fall into the gap fires once at its end. Where they are put
    back, what has a fixed hour and minute fires the first time only; "every so often" goes on evenly.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        if not isinstance(self.expression, str):
            raise TypeError(f"cron must be a string such as '0 3 * * *', not {self.expression!r:.100}.")
        try:
            next(CronSim(self.expression, EPOCH))
        except CronSimError as error:
            raise ValueError(
                f"{self.expression!r:.100} is no cron expression: {error}. It has five fields, minute, hour, "
                "day of month, month and day of week, or six with seconds first."
            ) from None
        except (StopIteration, IndexError, TypeError):
            raise ValueError(f"{self.expression!r:.100} is a cron expression that never comes.") from None

    @cached_property
    def _zone(self) -> ZoneInfo:
        return zone_of(self.timezone)

    @cached_property
    def _is_fixed(self) -> bool:
        """Whether the expression fixes hour and minute, and so means a time of day and not an interval."""
        minute, hour = self.expression.split()[-5:-3]
        return not minute.startswith("*") and not hour.startswith("*")

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first tick after an aware moment, in UTC; None if none comes any more."""
        local = moment.astimezone(self._zone)
        start = local.replace(tzinfo=None) if self._is_fixed else local
        # Times of the hour that is repeated belong to its first pass, which may be over.
        return next((tick for tick in self._ticks(start) if tick > moment), None)

    def last_before(self, moment: datetime) -> datetime | None:
        """Return the last tick before an aware moment, in UTC."""
        local = moment.astimezone(self._zone)
        if not self._is_fixed:
            return next((tick for tick in self._ticks(local, back=True) if tick < moment), None)
        # All of the hour that is repeated is before its second pass.
        repeated = (local.replace(fold=0).utcoffset() or EPOCH - EPOCH) - (
            local.replace(fold=1).utcoffset() or EPOCH - EPOCH
        )
        start = local.replace(tzinfo=None) + max(timedelta(), repeated) + SECOND
        return next((tick for tick in self._ticks(start, back=True) if tick < moment), None)

    def _ticks(self, start: datetime, *, back: bool = False) -> Iterator[datetime]:
        try:
            for tick in CronSim(self.expression, start, reverse=back):
                yield self._real(tick) if tick.tzinfo is None else tick.astimezone(UTC)
        except OverflowError:
            return

    def _real(self, wall: datetime) -> datetime:
        """Return the moment at which clocks show a time, or the end of the gap that it would be in."""
        moment = wall.replace(tzinfo=self._zone).astimezone(UTC)
        if moment.astimezone(self._zone).replace(tzinfo=None) == wall:
            return moment
        wall = wall.replace(second=0)
        while True:
            wall += MINUTE
            moment = wall.replace(tzinfo=self._zone).astimezone(UTC)
            if moment.astimezone(self._zone).replace(tzinfo=None) == wall:
                return moment

    def explain(self) -> str:
        """In plain English."""
        return CronSim(self.expression, EPOCH).explain()

    def __str__(self) -> str:
        return self.expression


@dataclass(frozen=True)
class Every:
    """An interval in seconds. Its ticks are whole multiples of it since 1970, for every worker the same."""

    interval: float
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone_of(self.timezone)
        whole = seconds(self.interval, "every", minimum=1.0)
        if whole != int(whole):
            raise ValueError(f"every must be whole seconds, not {whole!r}.")
        object.__setattr__(self, "interval", whole)

    @property
    def _step(self) -> timedelta:
        return timedelta(seconds=self.interval)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first tick after an aware moment, in UTC; None if none comes any more."""
        try:
            return EPOCH + ((moment - EPOCH) // self._step + 1) * self._step
        except OverflowError:
            return None

    def last_before(self, moment: datetime) -> datetime | None:
        """Return the last tick before an aware moment, in UTC."""
        return EPOCH - ((EPOCH - moment) // self._step + 1) * self._step

    def explain(self) -> str:
        """In plain English."""
        rest, parts = int(self.interval), []
        for size, word in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
            count, rest = divmod(rest, size)
            if count:
                parts.append(f"{count} {word}{'s' if count > 1 else ''}")
        return f"Every {parts[0].removeprefix('1 ')}" if len(parts) == 1 else f"Every {' '.join(parts)}"

    def __str__(self) -> str:
        return str(int(self.interval))


Timing = Cron | Every


def timing_of(*, cron: str | None, every: float | timedelta | None, timezone: str) -> Timing:
    """Return the one of them that is given. Raises TypeError or ValueError."""
    if (cron is None) == (every is None):
        raise TypeError("A schedule needs either cron= or every=.")
    if cron is not None:
        return Cron(" ".join(cron.split()) if isinstance(cron, str) else cron, timezone)
    return Every(every, timezone)  # type: ignore[arg-type]


def stored_timing(kind: str, expression: str, timezone: str) -> Timing:
    """Return a timing from its columns. Raises ValueError."""
    match kind:
        case "cron":
            return Cron(expression, timezone)
        case "every":
            return Every(float(expression), timezone)
    raise ValueError(f"{kind!r:.100} is no kind of schedule that this release knows.")


def upcoming(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the ticks that follow a moment, in UTC."""
    tick = timing.next_after(after)
    while tick is not None:
        yield tick
        tick = timing.next_after(tick)


class Plan(NamedTuple):
    """What becomes of the ticks that are due."""

    #: Those to fire, in order.
    fire: list[datetime]
    #: The first of those that are left out, if any are.
    missed: datetime | None
    #: The first one to come.
    next_at: datetime | None


def plan(timing: Timing, first: datetime, now: datetime, missed: Missed) -> Plan:
    """Return what to do at ``now`` where the tick at ``first`` and maybe later ones are due.

    Of ticks that were missed, ``one`` makes up for the latest, ``all`` for each of the latest
    ``MOST_MISSED``. With ``skip`` only a tick that is not late by more than ``TOLERANCE`` fires.
    """
    most = MOST_MISSED if missed is Missed.ALL else 1
    due = list(islice(_back_from(timing, first, now), most + 1))[::-1]
    fire, left_out = due[-most:], due[:-most]
    if missed is Missed.SKIP and (now - fire[-1]).total_seconds() > TOLERANCE:
        fire, left_out = [], due
    return Plan(fire, first if left_out else None, timing.next_after(now))


def _back_from(timing: Timing, first: datetime, now: datetime) -> Iterator[datetime]:
    """Yield the ticks from ``now`` back to ``first``, which is one whatever the timing says by now."""
    tick = timing.last_before(now + timedelta(microseconds=1))
    while tick is not None and tick > first:
        yield tick
        tick = timing.last_before(tick)
    yield first
