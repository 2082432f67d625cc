"""Ends an attempt from within when its time is over, so that its ``finally`` blocks run.

Whoever does not listen is killed from outside after the grace: see ``worker.pool``.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from asgiref.sync import async_to_sync, iscoroutinefunction

from ..exceptions import TaskTimeout


class _Interrupt(TaskTimeout, KeyboardInterrupt):
    """TaskTimeout in a form that psycopg knows to cancel the running query for.

    Without that, what a ``finally`` block asks of the database would meet a busy connection.
    """


# Whoever reads a traceback should find the class that can be caught and imported.
_Interrupt.__module__, _Interrupt.__qualname__ = TaskTimeout.__module__, TaskTimeout.__qualname__


class Alarm:
    """Raises TaskTimeout once in the main thread, ``seconds`` after the block was entered."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._armed = False

    def __enter__(self) -> Self:
        self._armed = True
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        # First of all: from here on nothing is raised into the code behind the block.
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_: object) -> None:
        if self._armed:
            self._armed = False
            raise _Interrupt(_message(self.seconds))


def call(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], timeout: float | None) -> Any:
    """Call a function or coroutine function. After ``timeout`` seconds TaskTimeout is raised inside it."""
    if iscoroutinefunction(function):
        return async_to_sync(_awaited)(function, args, kwargs, timeout)
    if timeout is None:
        return function(*args, **kwargs)
    with Alarm(timeout):
        return function(*args, **kwargs)


async def _awaited(
    function: Callable[..., Any],
    args: list[Any],
    kwargs: dict[str, Any],
    timeout: float | None,  # noqa: ASYNC109 - a timeout of the task, reported as one
) -> Any:
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            return await function(*args, **kwargs)
    except TimeoutError:
        if scope.expired() and timeout is not None:
            raise TaskTimeout(_message(timeout)) from None
        raise


def _message(seconds: float) -> str:
    return f"The attempt ran longer than its timeout of {seconds:g} seconds."
