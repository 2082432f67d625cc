"""Waiting for the end of a job: by looking, and where the database can ring, by being told.

And whether that is of any use where it is done.
"""

from __future__ import annotations

import asyncio
import logging
import select
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
from ..storage import REMEMBERED, JobWaiter, Storage

#: Seconds of looking before it is worth the trouble to be told.
LOOKING = 0.1
#: Longest wait between two looks, in seconds: without a doorbell, and with one.
LONGEST, LONGEST_TOLD = 0.25, 1.0

logger = logging.getLogger("django_tasks_q.results")

_warned: set[str] = set()


def sent_in(alias: str) -> tuple[str, Any] | None:
    """The open transaction of this thread on a database, to be known again; None without one."""
    blocks = connections[alias].atomic_blocks
    return (alias, blocks[0]) if blocks else None


def refuse_vain(storage: Storage | None, job: str, sent: tuple[str, Any] | None) -> None:
    """Raises WouldNeverReturn where it is certain that waiting for an unfinished job never ends.

    ``job`` describes it, ``sent`` is what ``sent_in()`` said when it was stored. Where it is only
    possible, that is logged, once a process for each task that waits.
    """
    # By identity: two transactions are never one, however alike they are.
    if sent is not None and (now := sent_in(sent[0])) is not None and now[1] is sent[1]:
        raise WouldNeverReturn(
            f"{job} was enqueued in a transaction on database {sent[0]!r} that is still open: no worker "
            "sees it before that commits. Call get() after the transaction."
        )
    if storage is not None and sent_in(storage.alias) is not None and not storage.sees_commits:
        raise WouldNeverReturn(
            f"{job} cannot end for a transaction on database {storage.alias!r}, which does not see what a "
            "worker does meanwhile. Call get() after the transaction."
        )
    if (attempt := running.get()) is not None:
        _warn_of_slot(attempt.context.task.name)


def _warn_of_slot(name: str) -> None:
    if name not in _warned:
        _warned.add(name)
        logger.warning(
            "Task %s waits for the result of another job and occupies its place in the worker meanwhile: "
            "where no other place is free for that job, neither ever ends. Give get() a timeout, or "
            "enqueue what is to follow from the other job.",
            name,
        )


class Waiting:
    """One wait for one job. ``storage`` is None where nobody rings."""

    def __init__(self, storage: Storage | None, backend: str, job_id: str, timeout: float | None) -> None:
        self._storage = storage
        self._backend, self._job_id = backend, job_id
        self._began = time.monotonic()
        self._deadline = None if timeout is None else self._began + timeout
        self._bell: JobWaiter | None = None
        self._asked_at = float("-inf")
        self._looks = 0

    @property
    def is_first_look(self) -> bool:
        return self._looks == 1

    def pauses(self) -> Iterator[float]:
        """Growing waits until the time is over, with one last look at the end."""
        pause = 0.005
        while True:
            remaining = pause if self._deadline is None else self._deadline - time.monotonic()
            self._looks += 1
            yield max(0.0, min(pause, remaining))
            if remaining <= 0:
                return
            pause = min(pause * 1.5, LONGEST if self._bell is None else LONGEST_TOLD)

    def sleep(self, seconds: float) -> None:
        """Sleep that long, or until it is worth a look."""
        self._see_to_bell()
        if self._bell is None:
            time.sleep(seconds)
        elif select.select([self._bell], [], [], seconds)[0]:
            self._drain()

    async def asleep(self, seconds: float) -> None:
        """See sleep()."""
        if self._wants_bell:
            await sync_to_async(self._see_to_bell)()
        if (bell := self._bell) is None:
            await asyncio.sleep(seconds)
            return
        rung = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(bell.fileno(), rung.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await rung.wait()
        finally:
            loop.remove_reader(bell.fileno())
        if rung.is_set():
            self._drain()

    @property
    def _wants_bell(self) -> bool:
        now = time.monotonic()
        return (
            self._storage is not None
            and now - self._began >= LOOKING
            and now - self._asked_at >= REMEMBERED / 2
        )

    def _see_to_bell(self) -> None:
        if self._storage is None or not self._wants_bell:
            return
        self._asked_at = time.monotonic()
        try:
            if self._bell is None:
                self._bell = self._storage.job_waiter(self._backend, UUID(self._job_id))
            if self._bell is not None:
                self._bell.ask()
        except Error:
            self.close()  # looking does without

    def _drain(self) -> None:
        try:
            if self._bell is not None:
                self._bell.drain()
        except Error:
            self.close()

    def close(self) -> None:
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.close()


class ResultWaiting(Waiting):
    """The wait of one result for its job."""

    def __init__(
        self, storage: Storage | None, result: TaskResult[..., Any], timeout: float | None, *, notify: bool
    ) -> None:
        super().__init__(storage if notify else None, result.backend, result.id, timeout)
        self._result, self._home = result, storage

    def refuse_vain(self) -> None:
        """Raise WouldNeverReturn where it is certain that the job cannot end during the wait."""
        result = self._result
        refuse_vain(
            self._home, f"The job of {result.task.name} ({result.id})", result.__dict__.get("_sent_in")
        )
