"""SQLite: one writer at a time, so every write transaction asks for the lock before it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, transaction

from .base import Storage
from .values import Advice

#: Longest time that the worker waits for the write lock at a stretch, in seconds.
PATIENCE = 1.0


class SQLiteStorage(Storage):
    #: A look costs microseconds here, and nobody sends hints.
    poll_interval = 0.1

    def advice(self) -> Iterator[Advice]:
        options = self.connection.settings_dict["OPTIONS"]
        if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
            yield Advice(
                "W001",
                f"Database {self.alias!r} holds jobs, and its transactions take SQLite's write lock late, so "
                "concurrent writers fail with 'database is locked'.",
                f"Set DATABASES[{self.alias!r}]['OPTIONS']['transaction_mode'] = 'IMMEDIATE'.",
            )
        if "journal_mode" not in str(options.get("init_command", "")).lower():
            yield Advice(
                "W002",
                f"Database {self.alias!r} holds jobs, and does not ask for SQLite's write-ahead log, so "
                "readers and the writer wait for each other.",
                f"Set DATABASES[{self.alias!r}]['OPTIONS']['init_command'] = 'PRAGMA journal_mode=WAL'.",
            )

    def is_busy(self, error: Exception) -> bool:
        return isinstance(error, OperationalError) and "locked" in str(error)

    def prepare_worker(self, seconds: float) -> None:
        # No signal ends a wait for the lock, and a worker that waits does not see to its children.
        seconds = min(PATIENCE, seconds / 2)
        options = self.connection.settings_dict["OPTIONS"]
        options["timeout"] = min(seconds, options.get("timeout", seconds))
        # Last, since the project's own commands may ask for another time.
        commands = [options.get("init_command", ""), f"PRAGMA busy_timeout={int(seconds * 1000)}"]
        options["init_command"] = ";".join(filter(None, commands))

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        # A transaction that first reads and then writes fails at once when somebody wrote in between,
        # whatever the busy timeout. BEGIN IMMEDIATE waits its turn instead.
        connection = self.connection
        connection.ensure_connection()
        configured = connection.transaction_mode  # type: ignore[attr-defined]
        connection.transaction_mode = "IMMEDIATE"  # type: ignore[attr-defined]
        try:
            with transaction.atomic(using=self.alias, durable=durable):
                yield
        finally:
            connection.transaction_mode = configured  # type: ignore[attr-defined]
