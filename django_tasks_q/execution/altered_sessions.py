"""Notices which database sessions a task has changed for the next task that uses them (docs/adr/0006)."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from django.db.backends.signals import connection_created

#: How statements begin whose effect may outlive their transaction, on any of the databases that Django knows.
_LASTING = re.compile(
    r"\s*(?:SET(?!\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)\b|RESET\b|DISCARD\b|(?:UN)?LISTEN\b|PREPARE\b"
    r"|DEALLOCATE\b|EXEC|CALL\b|DO\b|LOAD\b|PRAGMA\b|ATTACH\b|DETACH\b|(?:UN)?LOCK\b|FLUSH\b|HANDLER\b"
    r"|USE\b|XA\b|ALTER\s+SESSION\b|DECLARE\b.*\bWITH\s+HOLD\b"
    r"|(?:CREATE|DROP)\s+(?:OR\s+REPLACE\s+)?(?:(?:LOCAL|GLOBAL)\s+)?TEMP)",
    re.IGNORECASE | re.DOTALL,
)
#: Those that only MySQL has, or that elsewhere end with the transaction.
_LASTING_ON_MYSQL = re.compile(r"\s*(?:SET|BEGIN|START\s+TRANSACTION)\b", re.IGNORECASE)
#: After what a statement may begin, besides the start of the text: the end of another one, or of a comment.
#: What stands in a literal is taken for a statement too.
_BOUNDARY = re.compile(r";|\*/|/\*M?!\d*|\n")
#: What leaves a trace wherever it stands in a statement.
_CALLS = (
    "set_config", "setseed", "advisory_lock", "get_lock", "load_extension", "dblink_connect", ":=",
)  # fmt: skip
#: Longest statement, in characters, whose inspection is cached.
_SHORT = 2000
_INTO = re.compile(r"into\s+(?:@|(?:local\s+|global\s+)?temp(?:orary)?\s)")

#: Connections, and the threads that have opened them.
_opened: WeakKeyDictionary[Any, threading.Thread] = WeakKeyDictionary()
_altered: WeakSet[Any] = WeakSet()


def watch_sessions() -> None:
    """Inspect the text of every statement of this process from now on."""
    # Receivers are called in their order, so this one sees what earlier ones have set up.
    connection_created.connect(_begin, dispatch_uid="django_tasks_q.sessions")


def opened() -> list[tuple[Any, threading.Thread]]:
    """Return the connections of this process, in all threads, and by which thread each was opened."""
    return [(one, thread) for one, thread in _opened.items() if one.connection is not None]


def is_altered(connection: Any) -> bool:
    """Return whether a statement has changed a connection's session for the next task."""
    return connection in _altered


def _begin(connection: Any, **kwargs: Any) -> None:
    _opened[connection] = threading.current_thread()
    _altered.discard(connection)
    if _watch not in connection.execute_wrappers:
        # At the bottom: Django takes wrappers that are in use for a while from the top.
        connection.execute_wrappers.insert(0, _watch)


def _watch(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    # A statement that is no text was composed with the driver, and may do anything.
    connection = context["connection"]
    if not isinstance(sql, str) or alters(sql, connection.vendor):
        _altered.add(connection)
    return execute(sql, params, many, context)


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
        if has_lines or boundary[0] != "\n"
    )


_known = lru_cache(maxsize=500)(_alters)


def _begins_lasting(sql: str, start: int, vendor: str) -> bool:
    return bool(_LASTING.match(sql, start) or (vendor == "mysql" and _LASTING_ON_MYSQL.match(sql, start)))
