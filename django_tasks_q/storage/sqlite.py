"""SQLite: one writer at a time, so every write transaction asks for the lock before it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction

from .base import Storage


class SQLiteStorage(Storage):
    #: A look costs microseconds here, and nobody sends hints.
    poll_interval = 0.1

    @contextmanager
    def transaction(self) -> Iterator[None]:
        # A transaction that first reads and then writes fails at once when somebody wrote in between,
        # whatever the busy timeout. BEGIN IMMEDIATE waits its turn instead.
        connection = self.connection
        configured = connection.transaction_mode  # type: ignore[attr-defined]
        connection.transaction_mode = "IMMEDIATE"  # type: ignore[attr-defined]
        try:
            with transaction.atomic(using=self.alias):
                yield
        finally:
            connection.transaction_mode = configured  # type: ignore[attr-defined]
