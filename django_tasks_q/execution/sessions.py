"""Notices which database sessions a task has changed for whoever uses them next (docs/adr/0006)."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakSet

from django.db.backends.signals import connection_created

#: Statements whose effect outlives their transaction, on any of the databases that Django knows.
_LASTING = re.compile(
    r"\s*(?:SET(?!\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)|RESET\b|DISCARD\b|LISTEN\b|PREPARE\b|LOAD\b|DO\b"
    r"|PRAGMA\b|ATTACH\b|LOCK\s+TABLE|USE\b|CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:LOCAL|GLOBAL)\s+)?TEMP)",
    re.IGNORECASE,
)
_CALLS = ("set_config", "advisory_lock", "get_lock", "into temp")
#: Calls are looked for in this much of a statement: what is longer is a list of values.
_LOOKED_AT = 2000

_opened: WeakSet[Any] = WeakSet()
_altered: WeakSet[Any] = WeakSet()


def watch_sessions() -> None:
    """From now on, in this process, look at the text of every statement."""
    # Receivers are called in their order, so this one forgets what the others have set up.
    connection_created.connect(_begin, dispatch_uid="django_tasks_q.sessions")


def any_opened() -> bool:
    """Whether this process has connected to a database since. Quick, as most jobs are that never do."""
    return bool(_opened)


def is_altered(connection: Any) -> bool:
    """Whether something was said in a connection's session that a next task would notice."""
    return connection in _altered


def _begin(connection: Any, **kwargs: Any) -> None:
    _opened.add(connection)
    _altered.discard(connection)
    if _look not in connection.execute_wrappers:
        # At the bottom: Django takes wrappers that are in use for a while from the top.
        connection.execute_wrappers.insert(0, _look)


def _look(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    # What is no text was composed with the driver, for something out of the ordinary.
    if not isinstance(sql, str) or alters(sql):
        _altered.add(context["connection"])
    return execute(sql, params, many, context)


#: It hides nothing from others and lets everything through.
_look.is_passive = True  # type: ignore[attr-defined]


def alters(sql: str) -> bool:
    """Whether a statement leaves a trace in its session, by its text: a setting, a lock, a table."""
    if _LASTING.match(sql):
        return True
    start = sql[:_LOOKED_AT].lower()
    return any(call in start for call in _CALLS)
