"""Waits for the end of a job: by polling, and where the database sends notifications, by listening too.

It refuses to wait where the job cannot end before the wait does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import Error, connections

from ..current import running
from ..definition.result import TaskResult
from ..exceptions import WouldNeverReturn
from ..polling import readable
from ..storage import REMEMBERED, JobWaiter, Storage

#: Seconds of polling before a wait listens for notifications, which costs a connection.
POLLING = 0.1
#: Longest pause between two polls, in seconds: without notifications, and with them.
LONGEST, LONGEST_NOTIFIED = 0.25, 1.0

logger = logging.getLogger("django_tasks_q.results")

_warned: set[str] = set()


def sent_in(alias: str) -> tuple[str, Any] | None:
    """Return what identifies the open transaction of this thread on a database; None without one."""
    blocks = connections[alias].atomic_blocks
    return (alias, blocks[0]) if blocks else None


def refuse_endless_wait(storage: Storage | None, job: str, sent: tuple[str, Any] | None) -> None:
    """Raise WouldNeverReturn where it is certain that a wait for an unfinished job never ends.

    ``job`` describes the job. ``sent`` is what ``sent_in()`` returned when the job was stored. Where an
    endless wait is only possible, a warning is logged, once a process for each task that waits.
    """
    # By identity: two transactions are never one, however alike they are.
    if sent is not None and (now := sent_in(sent[0])) is not None and now[1] is sent[1]:
        raise WouldNeverReturn(
            f"{job} was enqueued in a transaction on database {sent[0]!r} that is still open: no worker "
            "sees it before that transaction commits. Call get() after the transaction."
        )
    if storage is not None and sent_in(storage.alias) is not None and not storage.session.sees_commits:
        raise WouldNeverReturn(
            f"{job} cannot be seen to end in the open transaction on database {storage.alias!r}, whose "
            "snapshot hides what a worker commits. Call get() after the transaction."
        )
    if (attempt := running.get()) is not None:
        _warn_of_slot(attempt.context.task.name)


def _warn_of_slot(name: str) -> None:
    if name not in _warned:
        _warned.add(name)
        logger.warning(
            "Task %s waits for the result of another job and occupies a place in the worker meanwhile. "
            "If no other place is free for that job, neither of the two ever ends. Give get() a timeout, or "
            "enqueue the next step from the other job.",
            name,
        )


class Waiter:
    """Waits for one job. ``storage`` is None where no notifications are sent."""

    def __init__(self, storage: Storage | None, backend: str, job_id: str, timeout: float | None) -> None:
        self._storage = storage
        self._backend, self._job_id = backend, job_id
        self._began = time.monotonic()
        self._deadline = None if timeout is None else self._began + timeout
        self._job_waiter: JobWaiter | None = None
        self._asked_at = float("-inf")
        self._polls = 0

    @property
    def is_first_poll(self) -> bool:
        return self._polls == 1

    def pauses(self) -> Iterator[float]:
        """Yield growing pauses between two polls until the time is over; the last poll comes after it."""
        pause = 0.005
        while True:
            remaining = pause if self._deadline is None else self._deadline - time.monotonic()
            self._polls += 1
            yield max(0.0, min(pause, remaining))
            if remaining <= 0:
                return
            pause = min(pause * 1.5, LONGEST if self._job_waiter is None else LONGEST_NOTIFIED)

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``, or until a notification says that the job may have ended."""
        self._subscribe()
        if self._job_waiter is None:
            time.sleep(seconds)
        elif readable([self._job_waiter], seconds):
            self._drain()

    async def asleep(self, seconds: float) -> None:
        """See sleep()."""
        if self._wants_notifications:
            await sync_to_async(self._subscribe)()
        if (job_waiter := self._job_waiter) is None:
            await asyncio.sleep(seconds)
            return
        notified = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(job_waiter.fileno(), notified.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await notified.wait()
        finally:
            loop.remove_reader(job_waiter.fileno())
        if notified.is_set():
            self._drain()

    @property
    def _wants_notifications(self) -> bool:
        now = time.monotonic()
        return (
            self._storage is not None
            and now - self._began >= POLLING
            and now - self._asked_at >= REMEMBERED / 2
        )

    def _subscribe(self) -> None:
        if self._storage is None or not self._wants_notifications:
            return
        self._asked_at = time.monotonic()
        try:
            if self._job_waiter is None:
                self._job_waiter = self._storage.notifications.job_waiter(self._backend, UUID(self._job_id))
            if self._job_waiter is not None:
                self._job_waiter.ask()
        except Error:
            self.close()  # polling does not need it

    def _drain(self) -> None:
        try:
            if self._job_waiter is not None:
                self._job_waiter.drain()
        except Error:
            self.close()

    def close(self) -> None:
        if self._job_waiter is not None:
            self._job_waiter.close()
            self._job_waiter = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.close()


class ResultWaiter(Waiter):
    """Waits for the job of one result."""

    def __init__(
        self, storage: Storage | None, result: TaskResult[..., Any], timeout: float | None, *, notify: bool
    ) -> None:
        super().__init__(storage if notify else None, result.backend, result.id, timeout)
        self._result, self._home = result, storage

    def refuse_endless_wait(self) -> None:
        """Raise WouldNeverReturn where it is certain that the job cannot end during the wait."""
        result = self._result
        refuse_endless_wait(
            self._home, f"The job of {result.task.name} ({result.id})", result.__dict__.get("_sent_in")
        )
