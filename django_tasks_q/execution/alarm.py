"""Interrupts user code in the main thread of a process child, so that its ``finally`` blocks run.

Code that does not end then is killed by the supervisor after the grace: see
``worker.children.process``.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from asgiref.sync import async_to_sync

from ..exceptions import ReceiverTimeout, TaskCancelled, TaskTimeout
from ..validation import plain
from .control import Control, message


class _Timeout(TaskTimeout, KeyboardInterrupt):
    """TaskTimeout in a form that psycopg knows to cancel the running query for.

    Without that, what a ``finally`` block asks of the database would meet a busy connection.
    """


class _Cancellation(TaskCancelled, KeyboardInterrupt):
    """TaskCancelled in the same form."""


class _LateReceiver(ReceiverTimeout, KeyboardInterrupt):
    """ReceiverTimeout in the same form."""


# Tracebacks show the classes that can be caught and imported.
for _form, _public in (
    (_Timeout, TaskTimeout),
    (_Cancellation, TaskCancelled),
    (_LateReceiver, ReceiverTimeout),
):
    _form.__module__, _form.__qualname__ = _public.__module__, _public.__qualname__
    _form.__name__ = _public.__name__


#: Never set: the supervisor cancels attempts of this process, by shared memory and the signal.
_NEVER = threading.Event()


class Alarm:
    """Owns SIGALRM, which arrives when the time of the running block is over, or when it is cancelled."""

    def __init__(self) -> None:
        self.armed: AlarmControl | None = None
        signal.signal(signal.SIGALRM, self._on_alarm)

    def _on_alarm(self, *_: object) -> None:
        control = self.armed
        if control is not None:
            control.interrupt()


class AlarmControl(Control):
    """Raises TaskTimeout or TaskCancelled once in the main thread, while its user code runs.

    ``is_cancelled`` says whether an alarm is a cancellation: a late one may be meant for an earlier attempt.
    """

    def __init__(
        self,
        alarm: Alarm,
        timeout: float | None = None,
        begun: Callable[[], None] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(timeout, begun, _NEVER)
        self.alarm = alarm
        self.has_interrupted = False
        self._is_cancelled = is_cancelled

    @property
    def cancel_requested(self) -> bool:
        return self._is_cancelled()

    def sleep(self, seconds: float) -> None:
        # Without a lock, which a signal handler might wait for. In pieces, for threads that no signal wakes.
        ends = time.monotonic() + seconds
        while (left := min(ends - time.monotonic(), self.remaining)) > 0:
            time.sleep(min(left, 1.0))
            self.check()
        self.check()

    def run(self, call: Callable[[], Any], *, is_coroutine: bool) -> Any:
        with self:
            if is_coroutine:
                return async_to_sync(self.awaited)(call)
            self.begin()
            self._wind()
            return call()

    def _wind(self) -> None:
        if self.timeout is None:
            return
        # Zero would disarm the timer instead of firing it at once.
        left = max(self.remaining, 1e-6)
        # A timer of an earlier attempt is kept if it fires in time; it is set again then.
        if not 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= left:
            signal.setitimer(signal.ITIMER_REAL, left)

    def __enter__(self) -> Self:
        self.alarm.armed = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        # From here on nothing is raised into the code after the block, though the timer may still fire.
        self.alarm.armed = None

    def interrupt(self) -> None:
        """Raise into the running user code, if there is a reason for it."""
        if self._is_cancelled():
            self.has_interrupted = True
            if self._coroutine is None:
                self.alarm.armed = None
                raise _Cancellation
            self._cancel_coroutine()
        elif self.timeout is not None and self._coroutine is None:
            if self.remaining:
                self._wind()
                return
            self.has_interrupted = True
            self.alarm.armed = None
            raise self._late(self.timeout)

    def _late(self, timeout: float) -> BaseException:
        return _Timeout(message(timeout))


class ReceiverAlarmControl(AlarmControl):
    """Raises ReceiverTimeout once in the main thread, while it calls receivers of a signal."""

    def _late(self, timeout: float) -> BaseException:
        return _LateReceiver(f"Receivers of a task signal took longer than {plain(timeout)} seconds.")
