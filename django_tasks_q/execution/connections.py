"""Leaves Django's database connections clean between two attempts."""

from __future__ import annotations

import select
from typing import Any

from django.db import Error, connections, reset_queries

from ..loggers import robust_logger
from .altered_sessions import is_altered
from .wrappers import any_made, close_session, discard, is_wrapper_altered

logger = robust_logger("django_tasks_q.execution")


#: libpq's ACTIVE, INTRANS and INERROR.
_IN_TRANSACTION = (1, 2, 3)


def clean_connections() -> None:
    """Undo what the last attempt left open, so that the next one starts from autocommit.

    Healthy connections stay, since the next job needs one at once; ``close_old_connections`` ends them
    when the process runs out of jobs. A session that the attempt has changed is closed, and a connection
    object that it has changed is replaced.
    """
    if not any_made():
        return
    reset_queries()
    for connection in connections.all(initialized_only=True):
        if is_wrapper_altered(connection):
            discard(connection)
        if connection.connection is None:
            continue
        try:
            _clean(connection)
        except Error:
            connection.close()


def are_connections_altered() -> bool:
    """Return whether clean_connections() would undo something in this thread."""
    return any_made() and any(
        is_wrapper_altered(connection) or (connection.connection is not None and is_unclean(connection))
        for connection in connections.all(initialized_only=True)
    )


def is_unclean(connection: Any) -> bool:
    """Return whether an open connection is in a transaction, or its session is altered."""
    is_open = connection.in_atomic_block or not connection.autocommit
    return is_open or in_transaction(connection.connection) or is_altered(connection)


def drop_dead_connections() -> None:
    """Close connections that their server has closed, so that the next attempt does not pay for it."""
    if not any_made():
        return
    for connection in connections.all(initialized_only=True):
        if has_news(connection.connection):
            try:
                usable = connection.is_usable()
            except Error:
                usable = False
            if not usable:
                connection.close()


def has_news(raw: Any) -> bool:
    """Return whether a server has sent something unrequested: nearly always the end of the session."""
    fileno = getattr(raw, "fileno", None)
    if fileno is None:
        return False
    try:
        watch = select.poll()
        watch.register(fileno(), select.POLLIN)
        return bool(watch.poll(0))
    except Exception:  # a driver has its own class for a connection that was closed here
        return True


def in_transaction(raw: Any) -> bool:
    """Return whether a task has begun a transaction in SQL, past Django. Asks no server."""
    try:
        if (session := getattr(raw, "pgconn", None)) is not None:
            return session.transaction_status in _IN_TRANSACTION
        return getattr(raw, "in_transaction", False) is True
    except Exception:  # a driver has its own class for a connection that was closed here
        return False


def _clean(connection: Any) -> None:
    if connection.in_atomic_block or not connection.autocommit:
        connection.needs_rollback = connection.in_atomic_block = False
        connection.savepoint_ids, connection.atomic_blocks, connection.run_on_commit = [], [], []
        logger.warning("A task left a transaction open on %r; rolled back.", connection.alias)
        connection.rollback()
        connection.set_autocommit(True)
    elif in_transaction(connection.connection):
        logger.warning("A task left a transaction open on %r; rolled back.", connection.alias)
        connection.rollback()
    if is_altered(connection):
        close_session(connection)
    elif connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()
    connection.health_check_done = False  # where CONN_HEALTH_CHECKS asks for one, each job gets it
