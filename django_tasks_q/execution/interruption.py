"""Finds out what has become of an exception that was raised into user code from outside.

Code that catches everything and goes on, as some libraries do, has to be interrupted again. Code that still
handles the exception has not: it may be in a ``finally`` block, which would be interrupted as well. And code
that names the class has decided itself what it means.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from ..exceptions import TaskCancelled, TaskTimeout, WorkerStopping

#: What interrupts a task from outside.
INTERRUPTIONS = (TaskTimeout, TaskCancelled, WorkerStopping)
#: Seconds between two looks at code that was interrupted and has not ended.
RAISE_AGAIN = 0.2

_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def is_handled(current: BaseException | None, interruption: BaseException) -> bool:
    """Return whether code that handles ``current`` handles an interruption, or what came of it."""
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        if current is interruption:
            return True
        seen.add(id(current))
        current = current.__context__
    return False


def handled_in_thread(thread: int) -> BaseException | None:
    """Return the exception that another thread handles."""
    found: Any = sys._current_exceptions().get(thread)
    if isinstance(found, tuple):  # before Python 3.12
        found = found[1]
    return found if isinstance(found, BaseException) else None


def is_named(interruption: BaseException) -> bool:
    """Return whether the function that has caught an interruption names its class."""
    # An exception that was caught has come as far as the first frame of its traceback.
    if (frames := interruption.__traceback__) is None:
        return False
    frame = frames.tb_frame
    code = frame.f_code
    public = tuple(kind for kind in INTERRUPTIONS if isinstance(interruption, kind))
    names = {kind.__name__ for kind in public}
    return any(
        name in names or _names_one(_value(frame, name), public)
        for name in (*code.co_names, *code.co_varnames, *code.co_freevars)
    )


def _value(frame: FrameType, name: str) -> Any:
    return frame.f_locals.get(name, frame.f_globals.get(name))


def _names_one(value: Any, kinds: tuple[type[BaseException], ...]) -> bool:
    if isinstance(value, tuple):
        return any(kind is member for kind in kinds for member in value)
    return any(kind is value for kind in kinds)


def runs_called(frame: FrameType | None, caller: CodeType, own_files: frozenset[str]) -> bool:
    """Return whether a frame belongs to what a function calls that is no helper of it."""
    called = None
    while frame is not None and frame.f_code is not caller:
        called, frame = frame, frame.f_back
    return frame is not None and called is not None and called.f_code.co_filename not in own_files


def is_suspended_in_handler(awaitable: Any) -> bool:
    """Return whether a suspended coroutine, or one that it awaits, handles an interruption.

    An object that is suspended refers to the exception that it handles, which only the collector of garbage
    can see.
    """
    while isinstance(awaitable, _SUSPENDED):
        # Types, because isinstance() would evaluate the lazy objects among the variables of user code.
        if any(
            issubclass(type(one), (asyncio.CancelledError, *INTERRUPTIONS))
            for one in gc.get_referents(awaitable)
        ):
            return True
        if isinstance(awaitable, CoroutineType):
            awaitable = awaitable.cr_await
        elif isinstance(awaitable, GeneratorType):
            awaitable = awaitable.gi_yieldfrom
        else:
            awaitable = awaitable.ag_await
        if awaitable is not None and not isinstance(awaitable, _SUSPENDED):
            # The steps of asynchronous generators do not show which one they belong to.
            found = (one for one in gc.get_referents(awaitable) if issubclass(type(one), AsyncGeneratorType))
            awaitable = next(found, None)
    return False
