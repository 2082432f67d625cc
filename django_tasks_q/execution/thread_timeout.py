"""Raises TaskTimeout into user code that runs in a thread, which no signal reaches.

It arrives when the thread is next at work in Python: not in a blocking call, nor in C code that never
returns. Code that does not end then is abandoned by the supervisor after the grace: see
``worker.children.concurrent``.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync

from ..exceptions import ReceiverTimeout, TaskTimeout
from .control import Control, message


class _Injected(TaskTimeout):
    """TaskTimeout in a form that can be made without arguments, as the interpreter does."""

    def __init__(self, text: str = "The attempt ran longer than its timeout.") -> None:
        super().__init__(text)


class _LateReceiver(ReceiverTimeout):
    """ReceiverTimeout in the same form."""

    def __init__(self, text: str = "Receivers of a task signal took too long.") -> None:
        super().__init__(text)


for _form, _public in ((_Injected, TaskTimeout), (_LateReceiver, ReceiverTimeout)):
    _form.__module__, _form.__qualname__ = _public.__module__, _public.__qualname__
    _form.__name__ = _public.__name__


class ThreadControl(Control):
    """Raises TaskTimeout in the thread that runs the user code when another one calls ``interrupt``."""

    _injected: type[BaseException] = _Injected

    def __init__(self, timeout: float | None = None, begun: Callable[[], None] | None = None) -> None:
        super().__init__(timeout, begun)
        self._lock = threading.Lock()
        self._thread: int | None = None
        self.has_interrupted = False

    def run(self, call: Callable[[], Any], *, is_coroutine: bool) -> Any:
        if is_coroutine:
            return async_to_sync(self.awaited)(call)
        self.begin()
        self._thread = threading.get_ident()
        try:
            return call()
        except _Injected as error:
            raise TaskTimeout(message(self.timeout or 0.0)).with_traceback(error.__traceback__) from None
        finally:
            self._disarm()

    @property
    def is_interruptible(self) -> bool:
        return self._thread is not None

    def interrupt(self) -> None:
        """Called by another thread when the time is over."""
        with self._lock:
            if self._thread is not None:
                self.has_interrupted = True
                _raise_in(self._thread, self._injected)
                self._thread = None

    def _disarm(self) -> None:
        # An exception that was set just before may be raised anywhere in here, once.
        thread = threading.get_ident()
        for _ in range(2):
            try:
                with self._lock:
                    self._thread = None
                _raise_in(thread, None)
                return
            except self._injected:
                continue


class ReceiverThreadControl(ThreadControl):
    """Raises ReceiverTimeout in the thread that calls receivers of a signal."""

    _injected = _LateReceiver


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Set an exception to be raised in a thread, or clear one that was not raised yet."""
    error = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
