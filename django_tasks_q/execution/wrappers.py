"""Notices which of Django's connection objects a task has altered: their schema, tenant or execute wrappers.

Each is compared with what it was when Django made it, so that this knows of no particular package.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

#: Where a connection object keeps what it was. Kept apart, that would keep the object alive.
_INITIAL = "_django_tasks_q_initial"
#: What Django itself changes while it uses a connection.
_CHANGING = frozenset({
    _INITIAL, "connection", "queries_log", "autocommit", "in_atomic_block", "savepoint_state",
    "savepoint_ids", "atomic_blocks", "commit_on_exit", "needs_rollback", "rollback_exc", "close_at",
    "closed_in_transaction", "errors_occurred", "health_check_enabled", "health_check_done",
    "_thread_sharing_count", "run_on_commit", "run_commit_hooks_on_set_autocommit_on", "_named_cursor_idx",
    "isolation_level",
})  # fmt: skip

#: Aliases of which there is, or was, such an object.
_made: set[str] = set()


def watch_wrappers() -> None:
    """Remember from now on what each connection object is like when Django makes it."""
    if "create_connection" in vars(connections):
        return
    make = connections.create_connection

    def create_connection(alias: str) -> Any:
        connection = make(alias)
        _remember(connection)
        _made.add(connection.alias)
        return connection

    vars(connections)["create_connection"] = create_connection
    connection_created.connect(_connected, dispatch_uid="django_tasks_q.wrappers")
    # The first of all receivers: what the others do is no task's doing.
    with connection_created.lock:
        connection_created.receivers.insert(0, connection_created.receivers.pop())
    connection_created.connect(_initialised, dispatch_uid="django_tasks_q.wrappers_initialised")


def any_made() -> bool:
    """Return whether this process has made or used a connection object since ``watch_wrappers()``."""
    return bool(_made)


def is_wrapper_altered(connection: Any, *, is_connecting: bool = False) -> bool:
    """Return whether a connection object differs from what it was before a task used it.

    With ``is_connecting`` it may have got other attributes.
    """
    now = vars(connection)
    initial = now.get(_INITIAL)
    if initial is None:
        return False  # it was made before this package was asked to watch
    for name, value in now.items():
        if name in _CHANGING:
            continue
        if name not in initial:
            if not is_connecting and not hasattr(type(connection), name):  # else a cached property
                return True
        elif value is not (before := initial[name]) and value != before:
            return True
    return False


def discard(connection: Any) -> None:
    """Close a connection of this thread and drop its object. Django makes another when it is needed."""
    if connection.connection is not None:
        close_session(connection)
    if connections[connection.alias] is connection:
        del connections[connection.alias]


def close_session(connection: Any) -> None:
    """Close a connection, and not by way of a pool, which would give the session as it is to the next one."""
    connection.needs_rollback = connection.in_atomic_block = False
    connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
    with suppress(Exception):  # a driver has its own class for a connection that was closed here
        connection.connection.close()
    connection.inc_thread_sharing()  # the thread that has opened it may be gone
    try:
        _close(connection)
    finally:
        connection.dec_thread_sharing()
    connection.connection = None


def _close(connection: Any) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        connection.close()
        return
    # Django refuses it in a thread with an event loop.
    thread = threading.Thread(target=connection.close)
    thread.start()
    thread.join()


def _remember(connection: Any) -> None:
    state = {name: value for name, value in vars(connection).items() if name not in _CHANGING}
    state["execute_wrappers"] = list(connection.execute_wrappers)
    setattr(connection, _INITIAL, state)


def _connected(connection: Any, **kwargs: Any) -> None:
    """Before all other receivers of ``connection_created``."""
    _made.add(connection.alias)
    initial = vars(connection).get(_INITIAL)
    if initial is not None and not is_wrapper_altered(connection, is_connecting=True):
        initial.clear()


def _initialised(connection: Any, **kwargs: Any) -> None:
    """After those that were there before."""
    if vars(connection).get(_INITIAL) == {}:
        _remember(connection)
