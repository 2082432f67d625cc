"""Notifies processes that wait for the end of a job of this worker."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping
from uuid import UUID

from ...lifecycle.states import FINAL, JobStatus
from ...storage import REMEMBERED, Storage

#: The most jobs that are remembered: any client may send notifications.
MAX_WAITED = 10_000


class WaiterNotifications:
    """The jobs for whose end a process waits."""

    def __init__(self, storage: Storage, backend: str) -> None:
        self._storage = storage
        self._backend = backend
        #: Until when each job is remembered.
        self._waited: dict[UUID, float] = {}
        #: The same of jobs that the worker did not hold when it was asked. They do not end its pauses.
        self._others: dict[UUID, float] = {}
        self._due: set[UUID] = set()

    def remember(self, ids: Iterable[UUID], held: Container[UUID]) -> None:
        """Note that a process waits for these jobs. For one that is not ``held`` it is notified at once."""
        now = time.monotonic()
        for id in ids:
            known = self._waited if id in held else self._others
            if known is self._others:
                self._due.add(id)
            if len(known) < MAX_WAITED:
                known[id] = now + REMEMBERED
        self._waited, self._others = _without_old(self._waited, now), _without_old(self._others, now)

    @property
    def are_waited_for(self) -> bool:
        """Whether a process may be waiting for the end of a job."""
        return bool(self._waited)

    def written(self, states: Mapping[UUID, JobStatus]) -> None:
        """Note the states of jobs whose endings were written."""
        if self._waited or self._others:
            self.ended(id for id, status in states.items() if status in FINAL)

    def ended(self, ids: Iterable[UUID]) -> None:
        """Note jobs that have ended."""
        self._due.update(id for id in ids if id in self._waited or id in self._others)

    def notify(self) -> None:
        """Notify the processes that wait for jobs which have ended. Raises a database Error."""
        if self._due:
            self._storage.notifications.notify_ended(self._backend, self._due)
            for id in self._due:
                self._waited.pop(id, None)
            self._due.clear()


def _without_old(jobs: dict[UUID, float], now: float) -> dict[UUID, float]:
    if not jobs or min(jobs.values()) >= now:
        return jobs
    return {id: until for id, until in jobs.items() if until >= now}
