"""PostgreSQL's hot statements on the driver's own cursors: prepared, and in its binary protocol.

Django's cursors put the values into the text, so that the server parses and plans each statement anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg import Connection, Cursor
from psycopg.types.numeric import Int8BinaryLoader

from .pipeline import Pipeline

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: Statements on a session before it is worth the round trips to prepare them.
WARM = 5

#: A number of times no statement is run: of itself the driver prepares none of the project's.
NEVER = 1 << 62

#: The worker's hot statements have one good plan each, by their index, whatever the statistics of a table
#: that was empty a minute ago. To plan them for each batch would cost half as much as to run them. All others
#: are planned as the server does it: see docs/adr/0016.
PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
}
_FACTS = f"""
SELECT pg_backend_pid(), {", ".join(f"current_setting('{name}')" for name in PLANS)}
"""


@dataclass
class _Session:
    """What is known of one session of the driver.

    It refers to nothing that refers to the driver's connection, which would otherwise outlive its use.
    """

    statements: int = 0
    #: Names of the statements that pipelines have prepared in it, by their text.
    prepared: dict[str, bytes] = field(default_factory=dict)
    #: Whether it is the server's own, and not one that a pooler gives to others between two transactions.
    is_direct: bool | None = None
    #: What the settings of PLANS were, and whether those of PLANS hold now; None if that is not known.
    usual: dict[str, str] = field(default_factory=dict)
    by_index: bool | None = False


class PreparedSession:
    """The sessions of one database alias."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        #: Whether this process has its sessions for the worker's statements alone.
        self.is_worker = False
        self._is_kept = False
        self._sessions: WeakKeyDictionary[Any, _Session] = WeakKeyDictionary()

    @contextmanager
    def cursor(self, *, by_number: bool = False) -> Iterator[Any]:
        """A cursor of the driver in Django's transaction, whose errors are Django's.

        It is Django's own cursor where statements are watched. With ``by_number`` the driver's cursor returns
        dates and times as the server's numbers: see ``storage.timestamps``.
        """
        connection: Any = connections[self.alias]
        connection.ensure_connection()
        if is_watched(connection):
            with connection.cursor() as cursor:
                yield cursor
            return
        connection.validate_no_broken_transaction()
        with connection.wrap_database_errors:
            raw = connection.connection
            yield _by_number(raw) if by_number else Cursor(raw)

    def execute(self, cursor: Any, statement: str, values: Any) -> None:
        if isinstance(cursor, Cursor):
            cursor.execute(statement, values, prepare=self.prepares(cursor.connection), binary=True)
        else:
            cursor.execute(statement, values)

    def pipeline(self, raw: Any) -> Pipeline:
        session = self._session(raw)
        return Pipeline(_by_number(raw), session.prepared)

    def prepares(self, raw: Any) -> bool:
        """Whether statements may stay with a session. To be asked once for each of them."""
        session = self._session(raw)
        session.statements += 1
        if session.is_direct is None and (self.is_worker or session.statements > WARM):
            session.is_direct = self._is_direct(raw, session)
            if session.is_direct and raw.prepare_threshold is None:
                raw.prepare_threshold = NEVER  # None would forbid what is asked for by name
        if self.is_worker and session.is_direct:
            self._plan(raw, session, by_index=True)
        return bool(session.is_direct)

    # The plans of the worker's statements

    @contextmanager
    def by_index(self) -> Iterator[None]:
        """Have the block's statements planned by their indexes too, in a worker's own session."""
        connection: Any = connections[self.alias]
        if not self.is_worker or self._is_kept:
            yield
            return
        connection.ensure_connection()
        self.prepares(connection.connection)
        self._is_kept = True
        try:
            yield
        finally:
            self._is_kept = False

    def forget_plans(self) -> None:
        """Take back what is known of the session's settings: a transaction that set them was rolled back."""
        raw = connections[self.alias].connection
        if raw is not None and raw in self._sessions:
            self._sessions[raw].by_index = None

    def _plan_as_usual(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """Run a statement of the ORM under the settings that the session began with."""
        raw = context["connection"].connection
        session = self._sessions.get(raw)
        if session is not None and session.usual and not self._is_kept:
            self._plan(raw, session, by_index=False)
        return execute(sql, params, many, context)

    _plan_as_usual.is_passive = True  # type: ignore[attr-defined]

    def _plan(self, raw: Any, session: _Session, *, by_index: bool) -> None:
        if session.by_index is by_index:
            return
        connection: Any = connections[self.alias]
        if by_index and self._plan_as_usual not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._plan_as_usual)
        settings = PLANS if by_index else session.usual
        session.by_index = None  # until it is known to have been done
        with connection.wrap_database_errors:
            raw.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
        session.by_index = by_index

    def _session(self, raw: Any) -> _Session:
        session = self._sessions.get(raw)
        if session is None:
            session = self._sessions[raw] = _Session()
        return session

    def _is_direct(self, raw: Any, session: _Session) -> bool:
        if connections[self.alias].settings_dict["OPTIONS"].get("prepare_threshold", NEVER) is None:
            return False  # as the project wants it
        # A pooler makes up the process id that a client receives at its start.
        pid, *usual = Cursor(raw).execute(_FACTS).fetchone() or (None,)
        session.usual = dict(zip(PLANS, usual, strict=True))
        return bool(pid == raw.info.backend_pid)


def _by_number(raw: Any) -> Cursor[Any]:
    cursor = Cursor(raw)
    # The protocol calls the server's own numbers the binary form.
    cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
    return cursor


#: What Django calls to have a statement executed.
_CURSOR_METHODS = (
    "cursor",
    "_cursor",
    "create_cursor",
    "make_cursor",
    "make_debug_cursor",
    "_prepare_cursor",
)
_of_class = attrgetter(*_CURSOR_METHODS)
_of_wrapper = attrgetter("execute", "_execute_with_wrappers", "_execute")

#: Functions that were found to be Django's own, by the class that has them.
_proven: dict[type, tuple[Any, Any]] = {}


def is_watched(connection: BaseDatabaseWrapper) -> bool:
    """Whether statements on a connection must take Django's road, since others have a part in it.

    A debug log, ``assertNumQueries``, a test case that has not declared the database, a tracer, a backend
    that does more before a statement, as those that choose a tenant's schema do.
    """
    return (
        connection.queries_logged
        or not all(getattr(wrapper, "is_passive", False) for wrapper in connection.execute_wrappers)
        or not _has_djangos_methods(connection)
        or not _is_plain(connection.connection)
    )


def _has_djangos_methods(connection: BaseDatabaseWrapper) -> bool:
    """Whether no method is replaced on the connection, overridden in its class, or patched."""
    kind = type(connection)
    found = _of_class(kind), _of_wrapper(CursorWrapper)
    if _proven.get(kind) != found:
        if not all(map(_is_djangos, (*found[0], *found[1]))):
            return False
        _proven[kind] = found
    if vars(connection).keys().isdisjoint(_CURSOR_METHODS):
        return True
    # A test case that has forbidden them puts its own bound methods back.
    return all(
        type(method) is MethodType and method.__self__ is connection and method.__func__ is function
        for method, function in zip(_of_class(connection), found[0], strict=True)
    )


def _is_djangos(function: Any) -> bool:
    # By where its code lies: a wrapper may have copied all its names.
    return type(function) is FunctionType and function.__globals__["__name__"].startswith("django.")


def _is_plain(raw: Any) -> bool:
    """Whether a connection of the driver is nothing but that, so that its cursors have nothing to add."""
    kinds: tuple[Any, ...] = (base.Cursor, base.ServerBindingCursor)
    return raw is None or (type(raw) is Connection and raw.cursor_factory in kinds)
