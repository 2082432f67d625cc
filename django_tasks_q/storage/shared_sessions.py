"""Notices database sessions that a fork would give two owners, each of which reads the other's rows.

They are those that a pool in the process keeps open, whatever is closed: a session is known by its socket.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

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
