"""Threads for what coroutines ask of code that blocks, such as Django's ORM.

Each attempt is bound to one thread while it runs, as Django asks for, but a thread may serve several: so
there are as many database connections as threads, however many coroutines run. Their calls take turns,
each whole, as they do where asgiref has one thread for everybody. An attempt whose call has left a connection
altered, or in a transaction, has its thread alone from then on: no other one runs in its schema.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.db import close_old_connections

from ..forks import OneProcess
from .connections import are_connections_altered, clean_connections, drop_dead_connections
from .other_threads import cleans_itself

#: The most threads of a child, unless calls hang.
MOST = 10


class SyncThread(ThreadPoolExecutor):
    """One thread, and how many attempts are bound to it."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="attempt", initializer=cleans_itself)
        self.users = 0
        #: The attempt that has altered its connections; None if none has.
        self.owner: _Binding | None = None
        #: Whether something has run in it since it last rested.
        self.used = False
        #: When its attempt ended while a call was still running; None if none is.
        self.abandoned_at: float | None = None

    def work(self, work: Callable[..., None], *args: Any) -> None:
        """Have something done in the thread, which is given the thread itself."""
        self.used = True
        self.submit(work, self, *args)

    def is_taken_from(self, binding: _Binding) -> bool:
        """Return whether another attempt has the thread alone."""
        return self.owner is not None and self.owner is not binding

    def own_if_altered(self, binding: _Binding) -> None:
        """A call of an attempt has ended, in the thread."""
        if self.owner is None and are_connections_altered():
            self.owner = binding

    def clean(self, binding: _Binding) -> None:
        """Clean up after an attempt, unless another one has the thread alone."""
        if not self.is_taken_from(binding):
            clean_connections()
            self.owner = None


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

    def __init__(self, threads: SyncThreads) -> None:
        self._threads = threads
        self.thread = threads.chosen()
        self.used = False
        self.calls: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        call: Future[Any] = Future()
        self.calls.add(call)
        call.add_done_callback(self.calls.discard)
        self._queue(call, partial(fn, *args, **kwargs))
        return call

    def _queue(self, call: Future[Any], function: Callable[[], Any]) -> None:
        self.used = True
        self.thread.work(self._run, call, function)

    def _run(self, thread: SyncThread, call: Future[Any], function: Callable[[], Any]) -> None:
        """Make a call, in the thread."""
        if thread.is_taken_from(self):
            if thread is self.thread:
                self.thread = self._threads.chosen(instead_of=thread)
            self._queue(call, function)
            return
        if not call.set_running_or_notify_cancel():
            return
        try:
            value = _called(function)
        except BaseException as error:
            thread.own_if_altered(self)
            call.set_exception(error)
        else:
            thread.own_if_altered(self)
            call.set_result(value)

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
        self._lock = threading.Lock()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[None]:
        """Within the block, sync_to_async() uses one thread, whose connections are cleaned afterwards."""
        binding = _Binding(self)
        if binding.thread.used:
            binding.thread.submit(drop_dead_connections)
        try:
            async with ThreadSensitiveContext(executor=binding):
                yield
        finally:
            thread, hanging = binding.thread, binding.hanging
            thread.users -= 1
            if hanging is None:
                if binding.used:
                    # Not awaited: the next call in this thread runs after it.
                    thread.submit(thread.clean, binding)
            else:
                loop = asyncio.get_running_loop()
                thread.abandoned_at = loop.time()
                hanging.add_done_callback(
                    lambda _: loop.call_soon_threadsafe(self._recovered, thread, binding)
                )

    def chosen(self, instead_of: SyncThread | None = None) -> SyncThread:
        """Return a thread for one more attempt, which has been using another one."""
        with self._lock:
            able = [thread for thread in self.threads if thread.abandoned_at is None and thread.owner is None]
            chosen = min(able, key=lambda thread: thread.users, default=None)
            if chosen is None or (chosen.users and len(able) < MOST):
                chosen = SyncThread()
                self.threads.append(chosen)
            chosen.users += 1
            if instead_of is not None:
                instead_of.users -= 1
            return chosen

    def _recovered(self, thread: SyncThread, binding: _Binding) -> None:
        thread.abandoned_at = None
        thread.submit(thread.clean, binding)

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
