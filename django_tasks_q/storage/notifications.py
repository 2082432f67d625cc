"""Notifications, where the database sends none: workers poll, and callers poll for results."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from .session import JobWaiter, Listener, Part


class NoNotifications(Part):
    def notify_jobs(self, backend: str) -> None:
        pass

    def notify_cancel(self, backend: str) -> None:
        pass

    def notify_control(self, backend: str) -> None:
        pass

    def notify_ended(self, backend: str, ids: Collection[UUID]) -> None:
        pass

    def listen(self, backend: str) -> Listener | None:
        return None

    def job_waiter(self, backend: str, id: UUID) -> JobWaiter | None:
        return None
