"""The attempt that the running code belongs to, for modules below those that run attempts."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol
from uuid import UUID


class Running(Protocol):
    """What is known here of a running attempt. ``context`` is its ``TaskContext``."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def context(self) -> Any: ...


#: None outside of every task.
running: ContextVar[Running | None] = ContextVar("django_tasks_q.running", default=None)
