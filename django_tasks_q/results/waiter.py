"""Waits for the end of a job: by polling at first, then by the watcher that all waits of a process share.

It refuses to wait where the job cannot end before the wait does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections

from ..current import running
from ..definition.result import TaskResult
from ..exceptions import WouldNeverReturn
from ..storage import JobWatch, Storage, brief_session, close_sessions, is_in_transaction, watcher_for

#: Seconds of polling before a job is watched: short jobs end before that. Coroutines do not poll at all,
#: since they may be a thousand.
POLLING = 0.1
#: Longest pause in seconds between two polls of a caller by itself.
LONGEST = 0.25
#: Longest time in seconds for which a caller sleeps without finding out whether the watcher works.
PIECE = 1.0

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
    """Waits for one job. ``storage`` is None where its end cannot be seen by others than the caller."""

    def __init__(
        self,
        storage: Storage | None,
        backend: str,
        job_id: str,
        timeout: float | None,
        *,
        notify: bool,
        keep_sessions: bool = True,
    ) -> None:
        self._storage = storage
        self._backend, self._job_id = backend, job_id
        self._notify, self._keep_sessions = notify, keep_sessions
        self._began = time.monotonic()
        self._deadline = None if timeout is None else self._began + timeout
        self._watch: JobWatch | None = None
        #: Whether the job may be changing in ways that only this caller sees.
        self._polls_itself = False
        self._woken = threading.Event()
        self._woken_loop: asyncio.Event | None = None
        self._is_watchable = False
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
            pause = min(pause * 1.5, LONGEST)

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``, or for as long as a watcher knows that the job has not ended."""
        if self._watch is None and time.monotonic() - self._began >= POLLING:
            self._find_out()
            self._begin_watch(self._woken.set)
        if (watch := self._watch) is None:
            time.sleep(seconds)
            return
        if not self._keep_sessions and not self._polls_itself:
            close_sessions()
        until = time.monotonic() + seconds
        # In pieces: an exception for a thread is raised between two of them.
        while not self._woken.wait(self._piece(until, watch)):
            if self._is_over(until, watch):
                break
        self._woken.clear()

    async def asleep(self, seconds: float) -> None:
        """See sleep()."""
        if self._watch is None and self._is_watchable:
            self._woken_loop = asyncio.Event()
            self._begin_watch(waker(self._woken_loop))
        if (watch := self._watch) is None or (woken := self._woken_loop) is None:
            await asyncio.sleep(seconds)
            return
        until = time.monotonic() + seconds
        while not self._is_over(until, watch):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._piece(until, watch)):
                    await woken.wait()
                    break
        woken.clear()

    async def aread(self, read: Callable[[], None]) -> None:
        """Call ``read``, which queries the job, in the thread that coroutines query in.

        Where each request has such a thread, as under ASGI, a session is open only for as long as that takes,
        unless it was open before.
        """
        has_own_thread = SyncToAsync.thread_sensitive_context.get(None) is not None
        await sync_to_async(self._read)(read, is_brief=has_own_thread)

    def _read(self, read: Callable[[], None], *, is_brief: bool) -> None:
        with brief_session(self._storage.alias) if is_brief and self._storage is not None else nullcontext():
            read()
            self._find_out()

    def _find_out(self) -> None:
        """Find out, in the thread that queries the job, whether another session can watch it."""
        if self._storage is not None:
            connection = self._storage.session.connection
            self._polls_itself = connection.connection is not None and is_in_transaction(connection)
            self._is_watchable = not self._storage.session.is_private

    def _begin_watch(self, wake: Callable[[], None]) -> None:
        if self._storage is not None and self._is_watchable and (self._notify or not self._polls_itself):
            watcher = watcher_for(self._storage)
            self._watch = watcher.watch(self._backend, UUID(self._job_id), wake, notify=self._notify)

    def _may_rest(self, watch: JobWatch) -> bool:
        """Return whether nothing is to be polled here until the watch says so."""
        return not self._polls_itself and watch.is_served

    def _piece(self, until: float, watch: JobWatch) -> float:
        end = until
        if self._may_rest(watch):
            end = float("inf") if self._deadline is None else self._deadline
        return max(0.0, min(PIECE, end - time.monotonic()))

    def _is_over(self, until: float, watch: JobWatch) -> bool:
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            return True
        return now >= until and not self._may_rest(watch)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

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
        super().__init__(storage, result.backend, result.id, timeout, notify=notify)
        self._result, self._home = result, storage

    def refuse_endless_wait(self) -> None:
        """Raise WouldNeverReturn where it is certain that the job cannot end during the wait."""
        result = self._result
        refuse_endless_wait(
            self._home, f"The job of {result.task.name} ({result.id})", result.__dict__.get("_sent_in")
        )


def waker(event: asyncio.Event) -> Callable[[], None]:
    """Return a function that sets an event of the running loop, to be called in any thread."""
    return partial(_set, asyncio.get_running_loop(), event)


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: its callers have gone
        loop.call_soon_threadsafe(event.set)
