"""Rings for those who wait for a job that this worker has ended."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping
from uuid import UUID

from ...lifecycle.states import FINAL, JobStatus
from ...storage import REMEMBERED, Storage

#: Most jobs that are remembered: anybody may send hints.
MOST = 10_000


class WaiterNotifications:
    """Who wants to be told of which job's end."""

    def __init__(self, storage: Storage, backend: str) -> None:
        self._storage = storage
        self._backend = backend
        #: Until when each job is remembered.
        self._waited: dict[UUID, float] = {}
        self._due: set[UUID] = set()

    def remember(self, ids: Iterable[UUID], held: Container[UUID]) -> None:
        """Somebody waits for these. Who waits for one that is not held here had better look."""
        now = time.monotonic()
        for id in ids:
            if id not in held:
                self._due.add(id)
            if len(self._waited) < MOST:
                self._waited[id] = now + REMEMBERED
        if self._waited and min(self._waited.values()) < now:
            self._waited = {id: until for id, until in self._waited.items() if until >= now}

    @property
    def are_waited_for(self) -> bool:
        """Whether somebody may be waiting for the end of a job."""
        return bool(self._waited)

    def ended(self, written: Mapping[UUID, JobStatus]) -> None:
        """These states stand in the database."""
        if self._waited:
            self._due |= {id for id in self._waited if written.get(id) in FINAL}

    def ring(self) -> None:
        """Tell those who wait. Raises a database Error."""
        if self._due:
            self._storage.notify_ended(self._backend, self._due)
            for id in self._due:
                self._waited.pop(id, None)
            self._due.clear()
