"""Database sessions that others have a share in.

Notices those that a fork would give two owners, each of which reads the other's rows. They are those that a
pool in the process keeps open, whatever is closed: a session is known by its socket. And keeps callers that
wait, of which there may be a thousand, from holding a session each.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

#: The most threads that query at the same time by sessions which they open for that.
BRIEF = 8
_brief = threading.BoundedSemaphore(BRIEF)

#: Sockets that this process had when it was forked.
_inherited: set[int] = set()


@contextmanager
def refused_if_shared() -> Iterator[None]:
    """A block that closes all connections. Raise ImproperlyConfigured if a session is open after it."""
    sessions = {
        socket: connection
        for connection in connections.all(initialized_only=True)
        if (socket := _socket_of(connection.connection)) is not None
    }
    yield
    for socket in sessions.keys() & _open_sockets():
        raise ImproperlyConfigured(_reason(sessions[socket]))


@contextmanager
def brief_session(alias: str) -> Iterator[None]:
    """A block of queries. If this thread had no session before, it has none after it."""
    connection = connections[alias]
    if connection.connection is not None:
        yield
        return
    with _brief:
        try:
            yield
        finally:
            if not connection.in_atomic_block:
                connection.close()


def close_sessions() -> None:
    """Close the sessions of this thread, except those in a transaction, before the thread waits."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block and connection.autocommit:
            connection.close()


def _forget_brief() -> None:
    global _brief  # noqa: PLW0603 - threads of the original process may hold it for ever
    _brief = threading.BoundedSemaphore(BRIEF)


os.register_at_fork(after_in_child=_forget_brief)


def remember_inherited() -> None:
    """Remember which sockets this process has been forked with."""
    _inherited.clear()
    _inherited.update(_open_sockets())


def refuse_inherited(connection: Any) -> None:
    """Raise ImproperlyConfigured if a connection was opened with a session of another process."""
    if _inherited and _socket_of(connection.connection) in _inherited:
        # Not closed, which would end the session of the other processes.
        _kept.append(connection.connection)
        connection.connection = None
        raise ImproperlyConfigured(_reason(connection))


_kept: list[Any] = []


def _reason(connection: Any) -> str:
    return (
        f"The processes of a worker would share a session of database {connection.alias!r}: its ENGINE "
        f"{connection.settings_dict['ENGINE']!r} keeps sessions open in a pool. Use an ENGINE without a pool "
        "for workers, or Django's OPTIONS['pool']."
    )


def _socket_of(raw: Any) -> int | None:
    """Return the number of a session's socket, which no other open one has."""
    try:
        return os.fstat(raw.fileno()).st_ino
    except Exception:  # no session, none with a socket, or one that is closed, for which drivers differ
        return None


def _open_sockets() -> set[int]:
    found = set()
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):  # noqa: PTH208 - a Path for each would be the greater part of it
            with suppress(OSError, ValueError):
                status = os.fstat(int(name))
                if stat.S_ISSOCK(status.st_mode):
                    found.add(status.st_ino)
    return found
