"""The time of the database, which all workers share, as an expression."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import DateTimeField, Func
from django.utils import timezone


class DatabaseNow(Func):
    """The statement's time by the database's clock, ``offset`` seconds later or earlier.

    SQLite has no server, so its time is that of the host.
    """

    template = "%(expressions)s"
    output_field = DateTimeField()

    def __init__(self, offset: float = 0.0, **extra: Any) -> None:
        super().__init__(**extra)
        self.offset = offset
        self.moment = timezone.now() + timedelta(seconds=offset)

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        return "%s", [connection.ops.adapt_datetimefield_value(self.moment)]

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:
        return "STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second'", [self.offset]

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, list[Any]]:
        # Without USE_TZ the project's local time is stored, while the session has the server's time zone.
        return "UTC_TIMESTAMP(6) + INTERVAL %s SECOND", [self.offset + (0 if settings.USE_TZ else _local())]


def _local() -> float:
    """Seconds by which the project's local time is ahead of UTC now."""
    ahead = datetime.now(timezone.get_default_timezone()).utcoffset()
    return ahead.total_seconds() if ahead else 0.0


def aware(moment: datetime) -> datetime:
    """Return a time as it came from the database with its time zone."""
    return (
        timezone.make_aware(moment, timezone.get_default_timezone()) if timezone.is_naive(moment) else moment
    )


def storable(moment: datetime) -> datetime:
    """Return an aware time as the database takes it."""
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())
