"""Raises TaskTimeout and WorkerStopping into user code that runs in a thread, which no signal reaches.

They arrive when the thread is next at work in Python: not in a blocking call, nor in C code that never
returns. Code that catches everything and goes on is interrupted again and again. Code that does not end then
is abandoned by the supervisor after the grace: see ``worker.children.concurrent``.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from asgiref.sync import async_to_sync

from ..exceptions import ReceiverTimeout, TaskTimeout, WorkerStopping
from ..validation import plain
from .control import NEVER, Control
from .interruption import RAISE_AGAIN, handled_in_thread, runs_called

#: The control of the user code that runs in each thread.
_controls: dict[int, ThreadControl] = {}


class _Injected(BaseException):
    """Base class of exceptions that the interpreter makes without arguments, in the thread itself."""

    def __init__(self) -> None:
        control = _controls.get(threading.get_ident())
        super().__init__(*(control.announced.args if control and control.announced else ()))
        if control is not None:
            control.raises(self)


class _Timeout(_Injected, TaskTimeout):
    """TaskTimeout in this form."""


class _Stop(_Injected, WorkerStopping):
    """WorkerStopping in this form."""


class _LateReceiver(_Injected, ReceiverTimeout):
    """ReceiverTimeout in this form."""


_FORMS: dict[type[BaseException], type[_Injected]] = {
    TaskTimeout: _Timeout,
    WorkerStopping: _Stop,
    ReceiverTimeout: _LateReceiver,
}
for _public, _form in _FORMS.items():
    _form.__module__, _form.__qualname__ = _public.__module__, _public.__qualname__
    _form.__name__ = _public.__name__


class ThreadControl(Control):
    """Raises what is due in the thread that runs the user code when another one calls ``interrupt``."""

    def __init__(
        self,
        timeout: float | None = None,
        begun: Callable[[], None] | None = None,
        stop_at: Callable[[], float] = lambda: NEVER,
    ) -> None:
        super().__init__(timeout, begun, stop_at=stop_at)
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._again_at = 0.0
        #: What was last set to be raised in the thread.
        self.announced: BaseException | None = None

    def run(self, call: Callable[[], Any], *, is_coroutine: bool) -> Any:
        if is_coroutine:
            return async_to_sync(self.awaited)(call)
        self.begin()
        thread = threading.get_ident()
        _controls[thread] = self
        self._thread = thread
        try:
            try:
                value = call()
            finally:
                self._disarm()
        except BaseException as error:
            if (verdict := self.verdict(error)) is not None:
                raise verdict  # noqa: B904 - the error becomes its context
            raise
        finally:
            _controls.pop(thread, None)
        if (verdict := self.verdict(None)) is not None:
            raise verdict
        return value

    def raises(self, interruption: BaseException) -> None:
        if not isinstance(interruption, _Injected) and self._thread == threading.get_ident():
            # The code has found out by itself, and must not be interrupted in what it does about that.
            with self._lock:
                _raise_in(self._thread, None)
        super().raises(interruption)

    @property
    def interrupts_in(self) -> float:
        """Seconds until ``interrupt`` is to be called; infinite while no code of its runs in a thread."""
        if self._thread is None:
            return NEVER
        due_in = min(self.remaining, self._stop_at() - time.monotonic())
        return max(0.0, due_in, self._again_at - time.monotonic())

    def interrupt(self) -> None:
        """Called by another thread when the time is over."""
        with self._lock:
            if (thread := self._thread) is None or (late := self.late()) is None:
                return
            self._again_at = time.monotonic() + RAISE_AGAIN
            if self.is_answered(handled_in_thread(thread)):
                return
            if not runs_called(_frame_of(thread), ThreadControl.run.__code__, _OWN_FILES):
                return
            self.announced, self.has_interrupted = late, True
            _raise_in(thread, _FORMS[type(late)])

    def _disarm(self) -> None:
        # An exception that was set just before may be raised anywhere in here, once.
        thread = threading.get_ident()
        for _ in range(2):
            try:
                with self._lock:
                    self._thread = None
                _raise_in(thread, None)
                return
            except _Injected:
                continue


_OWN_FILES = frozenset(code.co_filename for code in (ThreadControl.run.__code__, Control.run.__code__))


class ReceiverThreadControl(ThreadControl):
    """Raises ReceiverTimeout in the thread that calls receivers of a signal."""

    insists = False

    def late(self) -> BaseException | None:
        if self.timeout is None or self.remaining:
            return None
        return ReceiverTimeout(f"Receivers of a task signal took longer than {plain(self.timeout)} seconds.")


def _frame_of(thread: int) -> FrameType | None:
    return sys._current_frames().get(thread)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Set an exception to be raised in a thread, or clear one that was not raised yet."""
    error = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), error)
