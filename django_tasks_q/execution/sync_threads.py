"""Threads for what coroutines ask of code that blocks, such as Django's ORM.

Each attempt is bound to one thread while it runs, as Django asks for, but a thread may serve several: so
there are as many database connections as threads, however many coroutines run. Their calls take turns,
each whole, as they do where asgiref has one thread for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.db import close_old_connections

from ..forks import OneProcess
from .connections import clean_connections, drop_dead_connections
from .other_threads import cleans_itself

#: The most threads of a child, unless calls hang.
MOST = 10


class SyncThread(ThreadPoolExecutor):
    """One thread, and how many attempts are bound to it."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="attempt", initializer=cleans_itself)
        self.users = 0
        #: Whether something has run in it since it last rested.
        self.used = False
        #: When its attempt ended while a call was still running; None if none is.
        self.abandoned_at: float | None = None


class SeparateCalls(ThreadPoolExecutor):
    """The threads of ``asyncio.to_thread()``, which have nothing to do with attempts.

    Each call starts with clean connections, whatever the call before it has left in the same thread.
    """

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio", initializer=cleans_itself)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_separate, fn, *args, **kwargs)


def _separate(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    drop_dead_connections()
    try:
        return _called(fn, *args, **kwargs)
    finally:
        clean_connections()


class _Binding(Executor):
    """What one attempt knows of its thread."""

    def __init__(self, thread: SyncThread) -> None:
        self.thread = thread
        self.used = False
        self.calls: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.used = self.thread.used = True
        call = self.thread.submit(_called, fn, *args, **kwargs)
        self.calls.add(call)
        call.add_done_callback(self.calls.discard)
        return call

    @property
    def hanging(self) -> Future[Any] | None:
        """A call that the thread is busy with."""
        return next((call for call in tuple(self.calls) if call.running()), None)


def _called(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    with OneProcess():
        return fn(*args, **kwargs)


class SyncThreads:
    """Binds attempts to threads."""

    def __init__(self) -> None:
        self.threads: list[SyncThread] = []

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[None]:
        """Within the block, sync_to_async() uses one thread, whose connections are cleaned afterwards."""
        thread = self._choose()
        thread.users += 1
        binding = _Binding(thread)
        if thread.used:
            thread.submit(drop_dead_connections)
        try:
            async with ThreadSensitiveContext(executor=binding):
                yield
        finally:
            thread.users -= 1
            if (hanging := binding.hanging) is None:
                if binding.used:
                    # Not awaited: the next call in this thread runs after it.
                    thread.submit(clean_connections)
            else:
                loop = asyncio.get_running_loop()
                thread.abandoned_at = loop.time()
                hanging.add_done_callback(lambda _: loop.call_soon_threadsafe(self._recovered, thread))

    def _choose(self) -> SyncThread:
        able = [thread for thread in self.threads if thread.abandoned_at is None]
        chosen = min(able, key=lambda thread: thread.users, default=None)
        if chosen is None or (chosen.users and len(able) < MOST):
            chosen = SyncThread()
            self.threads.append(chosen)
        return chosen

    def _recovered(self, thread: SyncThread) -> None:
        thread.abandoned_at = None
        thread.submit(clean_connections)

    @property
    def hanging_since(self) -> float:
        """When the first call that still hangs began to hang, on the loop's clock; infinity without one."""
        moments = [thread.abandoned_at for thread in self.threads]
        return min((moment for moment in moments if moment is not None), default=float("inf"))

    def rest(self) -> None:
        """Close connections of threads without users, as ``CONN_MAX_AGE`` says."""
        for thread in self.threads:
            if thread.used and not thread.users:
                thread.used = False
                thread.submit(close_old_connections)
