"""The one way to the database: verbs in parts, documented in ``contract``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .contract import Storage
from .job_watcher import JobWatch, WatcherThread, stop_watchers, watcher_for
from .notifications import Concerns, always
from .orm.clock import aware, storable
from .session import REMEMBERED, Listener, RoundTrip, Session, TookTooLong, is_in_transaction
from .shared_sessions import (
    brief_session,
    close_sessions,
    refuse_inherited,
    refused_if_shared,
    remember_inherited,
)
from .values import (
    Cancelled,
    Claim,
    ClaimedJob,
    ControlState,
    Decision,
    Declared,
    KnownSchedules,
    LogNote,
    LostJob,
    NewJobs,
    NextDue,
    Note,
    Notifications,
    Planned,
    ProgressNote,
    Transition,
)

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: What another process uses.
_INHERITED: list[Any] = []

__all__ = [
    "REMEMBERED",
    "Cancelled",
    "Claim",
    "ClaimedJob",
    "Concerns",
    "ControlState",
    "Decision",
    "Declared",
    "JobWatch",
    "KnownSchedules",
    "Listener",
    "LogNote",
    "LostJob",
    "NewJobs",
    "NextDue",
    "Note",
    "Notifications",
    "Planned",
    "ProgressNote",
    "RoundTrip",
    "Storage",
    "TookTooLong",
    "Transition",
    "WatcherThread",
    "always",
    "aware",
    "before_fork",
    "brief_session",
    "close_sessions",
    "forget_connections",
    "is_in_transaction",
    "refuse_inherited",
    "remember_inherited",
    "storable",
    "storage_for",
    "watcher_for",
]


def before_fork() -> None:
    """Close what this process has open in any database, so that no socket has two owners.

    Raises ImproperlyConfigured if a session stays open.
    """
    stop_watchers()
    with refused_if_shared():
        for alias in connections:
            with suppress(ImproperlyConfigured):  # an alias of others, whose driver is not here
                storage_for(alias).session.before_fork()


def forget_connections(inherited: Iterable[BaseDatabaseWrapper]) -> None:
    """Leave the connections alone that this process has from the one it is a copy of.

    Their sockets belong to the other process. They are neither used nor closed here, and never freed.
    """
    for connection in inherited:
        # Pools of sessions have threads, which a copy has not.
        pools = getattr(type(connection), "_connection_pools", {})
        _INHERITED.append((connection, connection.connection, dict(pools)))
        pools.clear()
    for alias in connections:
        with suppress(AttributeError):  # not opened in this thread
            del connections[alias]


@cache
def storage_for(alias: str) -> Storage:
    """The storage of a database alias. The one place that asks which database it is.

    Raises ImproperlyConfigured where its driver cannot be used.
    """
    match connections[alias].vendor:
        case "postgresql":
            try:
                from .postgresql import postgresql_storage
            except ImportError as error:
                # Django itself has fallen back to psycopg2 then.
                reason = str(error).partition("\n")[0].rstrip(".")
                raise ImproperlyConfigured(
                    f"Database {alias!r} is PostgreSQL, and psycopg cannot be loaded, by which jobs are "
                    f"stored there: {reason}. Install it with the library it needs: "
                    "pip install 'psycopg[binary]'."
                ) from error

            return postgresql_storage(alias)
        case "sqlite":
            from .sqlite import sqlite_storage

            return sqlite_storage(alias)
        case "mysql":
            from .mysql import mysql_storage

            return mysql_storage(alias)
        case _:
            from .composition import composed

            return composed(Session(alias))
