"""Notices which database sessions a task has changed for the next task that uses them (docs/adr/0006)."""

from __future__ import annotations

import os
import re
import threading
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper

from ..storage import refuse_inherited

#: How statements begin whose effect may outlive their transaction, on any of the databases that Django knows.
_LASTING = re.compile(
    r"\s*(?:SET(?!\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)\b|RESET\b|DISCARD\b|(?:UN)?LISTEN\b|PREPARE\b"
    r"|DEALLOCATE\b|EXEC|CALL\b|DO\b|LOAD\b|PRAGMA\b|ATTACH\b|DETACH\b|(?:UN)?LOCK\b|FLUSH\b|HANDLER\b"
    r"|USE\b|XA\b|ALTER\s+SESSION\b|DECLARE\b.*\bWITH\s+HOLD\b"
    r"|EXPLAIN\s+(?:QUERY\s+PLAN\s+)?PRAGMA\b"
    r"|(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?(?:(?:LOCAL|GLOBAL)\s+)?TEMP"
    r"|(?:CREATE|DROP)\s[^(]*\bTEMP\W?\s*\.|UPDATE\s[^=]*\bPG_SETTINGS\b)",
    re.IGNORECASE | re.DOTALL,
)
#: Those that only MySQL has, or that elsewhere end with the transaction.
_LASTING_ON_MYSQL = re.compile(
    r"\s*(?:SET|BEGIN|START\s+TRANSACTION|(?:COMMIT|ROLLBACK)\b.*\bCHAIN"
    # MariaDB runs the statements of procedures outside of them as well.
    r"|(?:\w+\s*:\s*)?(?:IF|CASE|FOR|WHILE|REPEAT|LOOP))\b",
    re.IGNORECASE | re.DOTALL,
)
#: After what a statement may begin, besides the start of the text: the end of another one, or of a comment.
#: What stands in a literal is taken for a statement too.
_BOUNDARY = re.compile(r";|\*/|/\*M?!\d*|[\r\n]")
#: What leaves a trace wherever it stands in a statement.
_CALLS = (
    "set_config", "setseed", "set_limit(", "advisory_lock", "get_lock", "load_extension", "dblink_connect",
    "pg_temp", ":=",
)  # fmt: skip
#: Longest statement, in characters, whose inspection is cached.
_SHORT = 2000
_INTO = re.compile(r"into\s+(?:@|(?:local\s+|global\s+)?temp(?:orary)?\s)")

#: Connections, and the threads that have opened them.
_opened: WeakKeyDictionary[Any, threading.Thread] = WeakKeyDictionary()
_altered: WeakSet[Any] = WeakSet()
#: Settings whose changes PostgreSQL reports without being asked, also those that no statement shows: a
#: function may make them, or a cursor of the driver. Older servers do not report all of them.
_REPORTED = (
    b"search_path", b"TimeZone", b"DateStyle", b"IntervalStyle", b"client_encoding", b"application_name",
    b"session_authorization", b"default_transaction_read_only",
)  # fmt: skip
_reported: WeakKeyDictionary[Any, tuple[bytes | None, ...]] = WeakKeyDictionary()


def watch_sessions() -> None:
    """Inspect the text of every statement of this process from now on."""
    # Receivers are called in their order, so this one sees what earlier ones have set up.
    connection_created.connect(_begin, dispatch_uid="django_tasks_q.sessions")
    if CursorWrapper.callproc is _callproc:
        # No execute wrapper sees it.
        CursorWrapper.callproc = _watched_callproc  # type: ignore[method-assign, assignment]


def forget_opened() -> None:
    """Forget the connections of the process that this one is a copy of, whose threads are not here."""
    _opened.clear()


# They are in use there. To close them here, as those of threads that have ended, would end their sessions.
os.register_at_fork(after_in_child=forget_opened)


def opened() -> list[tuple[Any, threading.Thread]]:
    """Return the connections of this process, in all threads, and by which thread each was opened."""
    return [(one, thread) for one, thread in _opened.items() if one.connection is not None]


def is_altered(connection: Any) -> bool:
    """Return whether a statement has changed a connection's session for the next task."""
    return connection in _altered or _settings_of(connection) != _reported.get(connection)


def _settings_of(connection: Any) -> tuple[bytes | None, ...] | None:
    """Return what the server has reported of its settings, if it is PostgreSQL's way to do that."""
    session = getattr(connection.connection, "pgconn", None)
    try:
        return None if session is None else tuple(map(session.parameter_status, _REPORTED))
    except Exception:  # a driver has its own class for a connection that was closed here
        return _reported.get(connection)


def _begin(connection: Any, **kwargs: Any) -> None:
    refuse_inherited(connection)
    _opened[connection] = threading.current_thread()
    _altered.discard(connection)
    if (settings := _settings_of(connection)) is not None:
        _reported[connection] = settings
    if _watch not in connection.execute_wrappers:
        # At the bottom: Django takes wrappers that are in use for a while from the top.
        connection.execute_wrappers.insert(0, _watch)


def _watch(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    # A statement that is no text was composed with the driver, and may do anything.
    connection = context["connection"]
    if not isinstance(sql, str) or alters(sql, connection.vendor):
        _altered.add(connection)
    return execute(sql, params, many, context)


_callproc = CursorWrapper.callproc


def _watched_callproc(cursor: Any, *args: Any, **kwargs: Any) -> Any:
    _altered.add(cursor.db)
    return _callproc(cursor, *args, **kwargs)


#: It hides nothing from others and lets everything through.
_watch.is_passive = True  # type: ignore[attr-defined]


def alters(sql: str, vendor: str = "postgresql") -> bool:
    """Return whether a statement may leave a trace in its session, by its text: a setting, a lock, a table.

    Where that is not certain, as for a procedure that is called, it is taken to.
    """
    # Most texts are those of a few queries, whose values are apart from them.
    return _known(sql, vendor) if len(sql) <= _SHORT else _alters(sql, vendor)


def _alters(sql: str, vendor: str) -> bool:
    if _begins_lasting(sql, 0, vendor):
        return True
    lowered = sql.lower()
    if any(call in lowered for call in _CALLS) or ("into" in lowered and _INTO.search(lowered)):
        return True
    has_lines = "--" in sql or (vendor == "mysql" and "#" in sql)
    if not has_lines and ";" not in sql and "/*" not in sql:
        return False
    return any(
        _begins_lasting(sql, boundary.end(), vendor)
        for boundary in _BOUNDARY.finditer(sql)
        if has_lines or boundary[0] not in "\r\n"
    )


_known = lru_cache(maxsize=500)(_alters)


def _begins_lasting(sql: str, start: int, vendor: str) -> bool:
    return bool(_LASTING.match(sql, start) or (vendor == "mysql" and _LASTING_ON_MYSQL.match(sql, start)))
