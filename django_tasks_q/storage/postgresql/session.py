"""PostgreSQL's sessions: the statements, how they are prepared, and for how long they may take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import OperationalError

from ...models import Attempt, Job
from ..orm.columns import columns_of
from ..orm.operations import PARTS
from ..session import Session, TookTooLong, is_in_transaction
from ..values import ClaimedJob
from . import statements
from .notifications import NOTIFY_INTERVAL
from .prepared_session import PreparedSession

#: serialization_failure and deadlock_detected: the statement did nothing and may be repeated.
REPEATABLE = ("40001", "40P01")
#: query_canceled: by statement_timeout, or by an administrator.
CANCELED = "57014"
INSUFFICIENT_PRIVILEGE = "42501"
#: The fewest seconds that the driver waits for a host, and the share of a call's time that all of them may
#: take: the last one has to be used in what is left.
SHORTEST_CONNECT, CONNECT_SHARE = 2, 0.8


class PostgreSQLSession(Session):
    sends_notifications = True
    notify_interval = NOTIFY_INTERVAL

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        quote = self.connection.ops.quote_name
        names = {
            "job": quote(Job._meta.db_table),
            "attempt": quote(Attempt._meta.db_table),
            "columns": ", ".join(f"job.{column}" for column in columns_of(quote, ClaimedJob._fields)),
            "parts": statements.parts(quote(part._meta.db_table) for part in PARTS),
            "inserted": "{inserted}",
            "values": "{values}",
        }
        self.sql = {
            name: text.format(**names, owned="", of_owned="")
            for name, text in vars(statements).items()
            if name.isupper() and not name.startswith("_") and type(text) is str
        }
        self.sql["RESCUE"] = statements.FINISH.format(
            **names, owned=statements.OWNED.format(**names), of_owned=" JOIN owned USING (id)"
        )
        self.prepared = PreparedSession(alias)

    def may_repeat(self, error: OperationalError) -> bool:
        return getattr(error.__cause__, "sqlstate", None) in REPEATABLE

    def is_forbidden(self, error: Exception) -> bool:
        return getattr(error.__cause__, "sqlstate", None) == INSUFFICIENT_PRIVILEGE

    def missing_privilege(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT current_schema()")  # the first of the search path that it may use
            return "" if cursor.fetchone()[0] else "USAGE on the schema of the tables"

    @property
    def sees_commits(self) -> bool:
        level = getattr(self.connection, "isolation_level", None)
        return getattr(level, "name", "READ_COMMITTED") in ("READ_COMMITTED", "READ_UNCOMMITTED")

    @contextmanager
    def reading(self, seconds: float) -> Iterator[None]:
        is_part = is_in_transaction(self.connection)
        try:
            with self.transaction(), self.connection.cursor() as cursor:
                cursor.execute(self.sql["LIMIT_TIME"], {"limit": f"{round(seconds * 1000)}ms"})
                before = cursor.fetchone()[0]
                yield
                if is_part:  # otherwise the limit stays until the caller's transaction ends
                    cursor.execute(self.sql["RESTORE_TIME"], {"limit": before})
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) == CANCELED:
                raise TookTooLong from error
            raise

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        try:
            with super().transaction(durable=durable):
                yield
        except BaseException:
            self.prepared.forget_plans()
            raise

    def by_index(self) -> AbstractContextManager[None]:
        return self.prepared.by_index()

    def prepare_worker(self, seconds: float) -> None:
        super().prepare_worker(seconds)
        self.prepared.is_worker = True
        self.share_connect_timeout(seconds)
        options = self.connection.settings_dict["OPTIONS"]
        options.setdefault("connect_timeout", max(SHORTEST_CONNECT, math.ceil(seconds)))

    def share_connect_timeout(self, seconds: float) -> None:
        settings = self.connection.settings_dict
        options = settings["OPTIONS"]
        hosts = len(str(settings["HOST"] or options.get("host")).split(","))
        if hosts > 1:  # the driver allows its timeout for each of them
            longest = max(SHORTEST_CONNECT, int(seconds * CONNECT_SHARE / hosts))
            options["connect_timeout"] = min(int(options.get("connect_timeout", longest)), longest)

    def leave_worker(self) -> None:
        super().leave_worker()
        self.prepared.is_worker = False

    def before_fork(self) -> None:
        super().before_fork()
        options = self.connection.settings_dict["OPTIONS"]
        if not (pool := options.get("pool")):
            return
        self.connection.close_pool()  # type: ignore[attr-defined]
        # A process of the worker does one thing at a time: its sessions are opened when they are needed.
        pool = {} if pool is True else pool
        largest = pool.get("max_size") or pool.get("min_size", 4)
        options["pool"] = {**pool, "min_size": 0, "max_size": max(1, largest)}
