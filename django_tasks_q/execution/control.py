"""Controls a running attempt from outside: its deadline and its cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync

from ..exceptions import TaskCancelled, TaskTimeout
from ..forks import OneProcess
from ..validation import plain


class Control:
    """The controls of one attempt.

    This class cancels coroutines. Other code has to check; subclasses interrupt it.
    """

    def __init__(
        self,
        timeout: float | None = None,
        begun: Callable[[], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.timeout = timeout
        self.deadline: float | None = None
        self._begun = begun
        self._cancelled = cancelled or threading.Event()
        self._coroutine: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def begin(self) -> None:
        """Start the clock: user code begins now."""
        if self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout
        if self._begun is not None:
            self._begun()
        if self.cancel_requested:
            raise TaskCancelled

    # For user code

    @property
    def cancel_requested(self) -> bool:
        return self._cancelled.is_set()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return float("inf") if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise TaskCancelled or TaskTimeout, if one of them is due."""
        if self.cancel_requested:
            raise TaskCancelled
        if self.timeout is not None and not self.remaining:
            raise TaskTimeout(message(self.timeout))

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``. Raises TaskCancelled or TaskTimeout as soon as it is due."""
        self._cancelled.wait(min(seconds, self.remaining))
        self.check()

    async def asleep(self, seconds: float) -> None:
        """See sleep(). A cancellation reaches a coroutine by itself."""
        await asyncio.sleep(min(seconds, self.remaining))
        self.check()

    # For the child

    def cancel(self) -> None:
        """Cancel the attempt. A coroutine is cancelled; other code has to check, or is interrupted."""
        self._cancelled.set()
        self._cancel_coroutine()

    def _cancel_coroutine(self) -> None:
        coroutine = self._coroutine
        if coroutine is not None:
            loop, task = coroutine
            with suppress(RuntimeError):  # its loop was closed this moment
                loop.call_soon_threadsafe(self._cancel_task, task)

    def _cancel_task(self, task: asyncio.Task[Any]) -> None:
        if self._coroutine is not None:
            task.cancel()

    # Around user code

    def run(self, call: Callable[[], Any], *, is_coroutine: bool) -> Any:
        """Call user code, or await it on a new event loop."""
        if is_coroutine:
            return async_to_sync(self.awaited)(call)
        self.begin()
        return call()

    async def awaited(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Await user code. At the deadline, or when it is cancelled, CancelledError is raised inside."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        scope = asyncio.timeout(self.timeout)
        try:
            async with scope:
                self._coroutine = (asyncio.get_running_loop(), task)
                try:
                    self.begin()
                    with OneProcess():
                        return await call()
                finally:
                    self._coroutine = None
        except TimeoutError:
            if scope.expired() and self.timeout is not None:
                raise TaskTimeout(message(self.timeout)) from None
            raise
        except asyncio.CancelledError:
            if not self.cancel_requested:
                raise
            task.uncancel()
            raise TaskCancelled from None


def message(seconds: float) -> str:
    return f"The attempt ran longer than its timeout of {plain(seconds)} seconds."
