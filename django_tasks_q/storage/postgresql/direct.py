"""PostgreSQL's hot statements on the driver's own cursors: prepared, and in its binary protocol.

Django's cursors put the values into the text, so that the server parses and plans each statement anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import connections
from psycopg import Cursor
from psycopg.types.numeric import Int8BinaryLoader

from .flight import Flight

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: Statements on a session before it is worth the round trips to prepare them.
WARM = 5

#: A number of times no statement is run: of itself the driver prepares none of the project's.
NEVER = 1 << 62

#: The worker's statements have one good plan each, by their index, whatever the statistics of a table that
#: was empty a minute ago. To plan them for each batch would cost half as much as to run them.
PLANS = """
SET plan_cache_mode = force_generic_plan; SET jit = off;
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off
"""


@dataclass
class _Session:
    """What is known of one session of the driver."""

    cursor: Cursor[Any]
    statements: int = 0
    #: Names of the statements that were prepared in it for flights, by their text.
    prepared: dict[str, bytes] = field(default_factory=dict)
    #: Whether it is the server's own, and not one that a pooler gives to others between two transactions.
    is_direct: bool | None = None


class Direct:
    """The sessions of one database alias."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        #: Whether this process has its sessions for the worker's statements alone.
        self.is_worker = False
        self._sessions: WeakKeyDictionary[Any, _Session] = WeakKeyDictionary()

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """A cursor of the driver in Django's transaction, whose errors are Django's.

        One of Django's own where somebody watches those.
        """
        connection: Any = connections[self.alias]
        if is_watched(connection):
            with connection.cursor() as cursor:
                yield cursor
            return
        connection.ensure_connection()
        connection.validate_no_broken_transaction()
        with connection.wrap_database_errors:
            yield self._session(connection.connection).cursor

    def execute(self, cursor: Any, statement: str, values: Any) -> None:
        if isinstance(cursor, Cursor):
            cursor.execute(statement, values, prepare=self.prepares(cursor.connection), binary=True)
        else:
            cursor.execute(statement, values)

    def flight(self, raw: Any) -> Flight:
        session = self._session(raw)
        return Flight(session.cursor, session.prepared)

    def prepares(self, raw: Any) -> bool:
        """Whether statements may stay with a session. To be asked once for each of them."""
        session = self._session(raw)
        session.statements += 1
        if session.is_direct is None and (self.is_worker or session.statements > WARM):
            session.is_direct = self._is_direct(raw)
            if session.is_direct and raw.prepare_threshold is None:
                raw.prepare_threshold = NEVER  # None would forbid what is asked for by name
            if session.is_direct and self.is_worker:
                raw.execute(PLANS)
        return bool(session.is_direct)

    def _session(self, raw: Any) -> _Session:
        session = self._sessions.get(raw)
        if session is None:
            session = self._sessions[raw] = _Session(Cursor(raw))
            # The server's own numbers, which its protocol calls the binary form: see ``moments``.
            session.cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
        return session

    def _is_direct(self, raw: Any) -> bool:
        if connections[self.alias].settings_dict["OPTIONS"].get("prepare_threshold", NEVER) is None:
            return False  # as the project wants it
        # A pooler makes up the process id that a client is told at its start.
        (pid,) = raw.execute("SELECT pg_backend_pid()").fetchone()
        return bool(pid == raw.info.backend_pid)


def is_watched(connection: BaseDatabaseWrapper) -> bool:
    """Whether somebody wants to see every statement on a connection, or to forbid them.

    A debug log, ``assertNumQueries``, a test case that has not declared the database, a tracer.
    """
    return (
        connection.queries_logged
        or not isinstance(connection.cursor, MethodType)
        or not all(getattr(wrapper, "is_passive", False) for wrapper in connection.execute_wrappers)
    )
