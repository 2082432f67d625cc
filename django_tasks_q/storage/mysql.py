"""MySQL and MariaDB: through the ORM, with the driver's limits on silence and the server's on size."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import DatabaseError, DataError, OperationalError

from ..lifecycle.outcome import Outcome
from ..lifecycle.states import JobStatus
from .composition import composed
from .contract import Storage
from .orm.jobs import Jobs
from .orm.statistics import Statistics
from .session import Session

#: Bytes of a statement beside the texts in it.
REST = 64 * 1024


#: A deadlock, and a lock that was waited for too long.
REPEATABLE = (1213, 1205)
#: Refused values that the driver puts among the operational errors: incorrect string value, packet too large,
#: out of range, data too long.
REFUSED = (1366, 1153, 1264, 1406)


#: A privilege is missing: on the database, a table, a column.
FORBIDDEN = (1044, 1142, 1143)


class MySQLSession(Session):
    def may_repeat(self, error: OperationalError) -> bool:
        return _code(error) in REPEATABLE

    def refuses(self, error: DatabaseError) -> bool:
        return super().refuses(error) or _code(error) in REFUSED

    def is_forbidden(self, error: Exception) -> bool:
        return isinstance(error, DatabaseError) and _code(error) in FORBIDDEN

    def prepare_worker(self, seconds: float) -> None:
        super().prepare_worker(seconds)
        # The driver waits in C, and goes on waiting after a signal.
        options = self.connection.settings_dict["OPTIONS"]
        for limit in ("connect_timeout", "read_timeout", "write_timeout"):
            options.setdefault(limit, max(1, math.ceil(seconds)))


class MySQLJobs(Jobs):
    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        # A larger statement would end the connection, which looks like an outage.
        written: dict[UUID, JobStatus] = {}
        batch: list[Outcome] = []
        size = REST
        for outcome in outcomes:
            needed = _size(outcome)
            if needed + REST > self._largest:
                raise DataError(f"max_allowed_packet is {self._largest} bytes, and this needs {needed}.")
            if size + needed > self._largest:
                written |= super().finish(batch)
                batch, size = [], REST
            batch.append(outcome)
            size += needed
        return written | super().finish(batch) if batch else written

    @cached_property
    def _largest(self) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            return int(cursor.fetchone()[0])


class MySQLStatistics(Statistics):
    # MySQL finds the row by any unique key, and takes the name of none.
    adding = "ON DUPLICATE KEY UPDATE {sums}"
    sum = "{column} = {column} + VALUES({column})"


def mysql_storage(alias: str) -> Storage:
    """Return the storage of a MySQL or MariaDB database."""
    return composed(MySQLSession(alias), jobs=MySQLJobs, statistics=MySQLStatistics)


def _code(error: DatabaseError) -> Any:
    return error.args[0] if error.args else None


def _size(outcome: Outcome) -> int:
    """Return how many bytes the texts of an outcome take in a statement at most."""
    failure = outcome.failure
    texts = [outcome.result or ""]
    if failure is not None:
        texts += [failure.message, failure.traceback]
    size = 0
    for text in texts:
        encoded = text.encode(errors="replace")
        # Each of these is written as two.
        size += len(encoded) + sum(map(encoded.count, (b'"', b"'", b"\\", b"\n", b"\r", b"\0")))
    return size
