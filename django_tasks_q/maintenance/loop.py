"""The loop over the table of maintenance: runs the entries that are due."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Container
from uuid import UUID

from ..backends import DatabaseBackend
from ..scheduling.fire import Firings
from ..storage import Storage
from .table import CLOCK_MARGIN, TABLE, Context, Entry, MaintenanceReport


class Maintenance:
    """Runs the maintenance that all workers of a backend share."""

    def __init__(self, storage: Storage, backend: DatabaseBackend, known_tasks: Collection[str]) -> None:
        self.storage = storage
        self.backend = backend
        self.known_tasks = known_tasks
        self.firings = Firings(storage, backend)
        self._worker_id: UUID | None = None
        #: What the caller has not got yet, because a later entry failed.
        self._report = MaintenanceReport()
        lease = backend.settings.lease
        self._table = [entry._replace(interval=min(entry.interval, entry.leases * lease)) for entry in TABLE]
        now = time.monotonic()
        #: When each entry is due, by its name, on the monotonic clock.
        self._due_at = {
            entry.name: 0.0 if entry.at_start else now + _jittered(entry) for entry in self._table
        }

    def perform(
        self,
        worker_id: UUID,
        held: Container[tuple[UUID, int]],
        *,
        idle: bool,
        poll_interval: float = 1.0,
    ) -> MaintenanceReport:
        """Run the entries that are due, and return what they did.

        ``held`` are the attempts that the worker holds, each by job and fence. Scheduled jobs that are due
        are queried every ``poll_interval`` seconds at least, and at once if the worker is ``idle``.
        Raises a database Error; the entries before the one that failed are reported by the next call.
        """
        if worker_id != self._worker_id:
            self._worker_id = worker_id
            self.run_soon("declare")
        now = time.monotonic()
        context: Context | None = None
        for entry in self._table:
            if now < self._due_at[entry.name] and not (idle and entry.when_idle):
                continue
            if context is None:
                context = self._context(worker_id, held, poll_interval)
            self._run(entry, context, now)
        report, self._report = self._report, MaintenanceReport()
        return report

    def _context(self, worker_id: UUID, held: Container[tuple[UUID, int]], poll_interval: float) -> Context:
        return Context(
            self.storage,
            self.backend.alias,
            self.backend.settings,
            self.known_tasks,
            self.firings,
            worker_id,
            held,
            poll_interval,
        )

    def _run(self, entry: Entry, context: Context, now: float) -> None:
        # Set before the run: an entry that fails must not keep the worker from its jobs.
        self._due_at[entry.name] = now + (_jittered(entry) if entry.retry is None else entry.retry)
        report = entry.function(context)
        next_in = _jittered(entry) if report.next_in is None else report.next_in
        self._due_at[entry.name] = time.monotonic() + next_in
        for name in report.triggers:
            self.run_soon(name)
        self._report |= report

    def run_soon(self, name: str) -> None:
        """Make an entry due at once."""
        self._due_at[name] = 0.0

    def fires_in(self, seconds: float) -> None:
        """Note that a schedule is due in that many seconds."""
        due_at = time.monotonic() + max(0.0, seconds + CLOCK_MARGIN)
        self._due_at["fire"] = min(self._due_at["fire"], due_at)

    def seconds_to(self, name: str) -> float:
        """Return the seconds until an entry is due."""
        return max(0.0, self._due_at[name] - time.monotonic())

    @property
    def seconds_to_next(self) -> float:
        """The seconds until the next entry is due."""
        return max(0.0, min(self._due_at.values()) - time.monotonic())


def _jittered(entry: Entry) -> float:
    return entry.interval * (1 - entry.jitter * random.random())  # noqa: S311 - spreads load, hides nothing
