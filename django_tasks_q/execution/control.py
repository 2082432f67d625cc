"""Controls a running attempt from outside: its deadline, its cancellation, and the stop of its worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync

from ..exceptions import TaskCancelled, TaskTimeout, WorkerStopping
from ..forks import OneProcess
from ..validation import plain
from .interruption import INTERRUPTIONS, RAISE_AGAIN, is_handled, is_named, is_suspended_in_handler

NEVER = float("inf")


class Control:
    """The controls of one attempt.

    This class cancels coroutines. Other code has to check; subclasses interrupt it. ``stop_at`` returns the
    time on ``time.monotonic()`` at which WorkerStopping is due, which is infinite while the worker goes on.
    ``changed`` ends a sleep.
    """

    #: Whether code that swallows what is raised is interrupted again, and has not the last word.
    insists = True

    def __init__(
        self,
        timeout: float | None = None,
        begun: Callable[[], None] | None = None,
        changed: threading.Event | None = None,
        stop_at: Callable[[], float] = lambda: NEVER,
    ) -> None:
        self.timeout = timeout
        self.deadline: float | None = None
        #: Whether user code was interrupted wherever it was.
        self.has_interrupted = False
        #: The latest that was raised in user code from outside, and why a coroutine was cancelled.
        self.interruption: BaseException | None = None
        self.reason: BaseException | None = None
        self._begun = begun
        self._changed = changed or threading.Event()
        self._is_cancelled_now = False
        self._stop_at = stop_at
        self._watch: _Watch | None = None

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
        return self._is_cancelled_now

    @property
    def stopping(self) -> bool:
        """Whether the worker is stopping."""
        return self._stop_at() != NEVER

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return NEVER if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise TaskCancelled, TaskTimeout or WorkerStopping, if one of them is due."""
        if (due := self.due()) is not None:
            self.raises(due)
            raise due

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``. Raises what check() raises as soon as it is due."""
        ends = time.monotonic() + seconds
        while True:
            changed = self._changed
            if (left := min(ends - time.monotonic(), self.due_in)) <= 0:
                break
            changed.wait(left)
        self.check()

    async def asleep(self, seconds: float) -> None:
        """See sleep(). An interruption reaches a coroutine by itself."""
        await asyncio.sleep(min(seconds, self.remaining))
        self.check()

    # What is due

    def due(self) -> BaseException | None:
        """Return what the attempt is to be interrupted by now."""
        return TaskCancelled() if self.cancel_requested else self.late()

    def late(self) -> BaseException | None:
        """Return what the attempt is to be interrupted by now because of the time."""
        if self.timeout is not None and not self.remaining:
            return TaskTimeout(message(self.timeout))
        if self._stop_at() <= time.monotonic():
            return WorkerStopping()
        return None

    @property
    def due_in(self) -> float:
        """Seconds until the attempt is to be interrupted; infinite if that is not known."""
        if self.cancel_requested:
            return 0.0
        return max(0.0, min(self.remaining, self._stop_at() - time.monotonic()))

    def raises(self, interruption: BaseException) -> None:
        """Note what is raised in user code."""
        self.interruption = interruption

    def cancels(self, reason: BaseException) -> None:
        """Note that the task of the coroutine is cancelled."""
        self.reason, self.has_interrupted = reason, True

    def is_answered(self, handled: BaseException | None) -> bool:
        """Return whether code was interrupted and must not be again: it handles that, or names it."""
        if not self.insists:
            return self.has_interrupted
        interruption = self.interruption
        return interruption is not None and (is_handled(handled, interruption) or is_named(interruption))

    def verdict(self, error: BaseException | None) -> BaseException | None:
        """Return what an attempt has ended by whose code has raised ``error``, or returned.

        It is None if the code has the last word. It has not where it was interrupted without noticing.
        """
        if not self.insists or isinstance(error, INTERRUPTIONS):
            return None
        if self.interruption is not None and is_named(self.interruption):
            return None
        return self.interruption or self.reason

    # For the child

    def cancel(self) -> None:
        """Cancel the attempt. A coroutine is cancelled; other code has to check, or is interrupted."""
        self._is_cancelled_now = True
        self.changes()

    def changes(self) -> None:
        """Something else may be due from now on: end its sleep, or check the coroutine."""
        changed, self._changed = self._changed, threading.Event()
        changed.set()
        self.check_coroutine()

    def check_coroutine(self) -> None:
        """Make the event loop of a coroutine do what is due."""
        if (watch := self._watch) is not None:
            with suppress(RuntimeError):  # its loop was closed this moment
                watch.loop.call_soon_threadsafe(watch.check)

    # Around user code

    def run(self, call: Callable[[], Any], *, is_coroutine: bool) -> Any:
        """Call user code, or await it on a new event loop."""
        if is_coroutine:
            return async_to_sync(self.awaited)(call)
        self.begin()
        return call()

    async def awaited(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Await user code. When an interruption is due, CancelledError is raised inside, and outside that."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        watch = self._watch = _Watch(self, task)
        try:
            self.begin()
            watch.check()
            with OneProcess():
                value = await call()
        except BaseException as error:
            if (verdict := self.verdict(error)) is not None:
                raise verdict from None if isinstance(error, asyncio.CancelledError) else error
            raise
        finally:
            self._watch = None
            watch.close()
        if (verdict := self.verdict(None)) is not None:
            raise verdict
        return value


class _Watch:
    """Cancels the task of a coroutine when an interruption is due, and again if that was swallowed."""

    def __init__(self, control: Control, task: asyncio.Task[Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self._control = control
        self._task: asyncio.Task[Any] | None = task
        self._timer: asyncio.TimerHandle | None = None
        self._cancelled = 0

    def check(self) -> None:
        """Do what is due. Called on the loop."""
        if self._task is None:
            return
        pause = RAISE_AGAIN
        if (due := self._control.due()) is None:
            pause = self._control.due_in
        elif asyncio.current_task() is self._task:
            pause = 0.0  # it has not begun yet
        elif not self._is_answered(self._task):
            self._control.cancels(due)
            self._cancelled += 1
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if pause == NEVER else self.loop.call_later(pause, self.check)

    def _is_answered(self, task: asyncio.Task[Any]) -> bool:
        if not self._control.has_interrupted:
            return False
        return self._control.is_answered(None) or is_suspended_in_handler(task.get_coro())

    def close(self) -> None:
        """The coroutine has ended: nothing is cancelled any more."""
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        for _ in range(self._cancelled):
            if task is not None:
                task.uncancel()


def message(seconds: float) -> str:
    return f"The attempt ran longer than its timeout of {plain(seconds)} seconds."
