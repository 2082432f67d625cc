"""Interrupts user code in the main thread of a process child, so that its ``finally`` blocks run.

Code that catches everything and goes on is interrupted again and again. Code that does not end then is
killed by the supervisor after the grace: see ``worker.children.process``.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from asgiref.sync import async_to_sync

from ..exceptions import ReceiverTimeout, TaskCancelled, TaskTimeout, WorkerStopping
from ..validation import plain
from .control import NEVER, Control
from .interruption import RAISE_AGAIN, runs_called


class _Timeout(TaskTimeout, KeyboardInterrupt):
    """TaskTimeout in a form that psycopg knows to cancel the running query for.

    Without that, what a ``finally`` block asks of the database would meet a busy connection.
    """


class _Cancellation(TaskCancelled, KeyboardInterrupt):
    """TaskCancelled in the same form."""


class _Stop(WorkerStopping, KeyboardInterrupt):
    """WorkerStopping in the same form."""


class _LateReceiver(ReceiverTimeout, KeyboardInterrupt):
    """ReceiverTimeout in the same form."""


_FORMS: dict[type[BaseException], type[BaseException]] = {
    TaskTimeout: _Timeout,
    TaskCancelled: _Cancellation,
    WorkerStopping: _Stop,
    ReceiverTimeout: _LateReceiver,
}
# Tracebacks show the classes that can be caught and imported.
for _public, _form in _FORMS.items():
    _form.__module__, _form.__qualname__ = _public.__module__, _public.__qualname__
    _form.__name__ = _public.__name__


#: Never set: a process child sleeps by means that a signal ends.
_NEVER_SET = threading.Event()
#: Seconds until an alarm that came at the border of user code is tried again.
BORDER = 0.01


class Alarm:
    """Owns SIGALRM, which arrives when the time of the running block is over, or something is due at once."""

    def __init__(self) -> None:
        self.armed: AlarmControl | None = None
        #: Whether it has arrived while nothing was running. It may have been meant for what runs next.
        self.is_unheeded = False
        signal.signal(signal.SIGALRM, self._on_alarm)

    def _on_alarm(self, _: int, frame: FrameType | None) -> None:
        control = self.armed
        if control is not None:
            control.interrupt(frame)
        else:
            self.is_unheeded = True

    def heed(self) -> None:
        """What runs from now on knows what was meant for it."""
        self.is_unheeded = False


class AlarmControl(Control):
    """Raises what is due in the main thread, while its user code runs, until that heeds it.

    ``is_cancelled`` says whether an alarm is a cancellation: a late one may be meant for an earlier attempt.
    """

    def __init__(
        self,
        alarm: Alarm,
        timeout: float | None = None,
        begun: Callable[[], None] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
        stop_at: Callable[[], float] = lambda: NEVER,
    ) -> None:
        super().__init__(timeout, begun, _NEVER_SET, stop_at)
        self.alarm = alarm
        self._is_cancelled = is_cancelled
        self._is_coroutine = False

    @property
    def cancel_requested(self) -> bool:
        return self._is_cancelled()

    def sleep(self, seconds: float) -> None:
        # Without a lock, which a signal handler might wait for. In pieces, for threads that no signal wakes.
        ends = time.monotonic() + seconds
        while (left := min(ends - time.monotonic(), self.due_in)) > 0:
            time.sleep(min(left, 1.0))
        self.check()

    def run(self, call: Callable[[], Any], *, is_coroutine: bool) -> Any:
        try:
            with self:
                if is_coroutine:
                    self._is_coroutine = True
                    return async_to_sync(self.awaited)(call)
                self.begin()
                if self.alarm.is_unheeded:
                    self.alarm.heed()
                    self._wind(self.due_in)
                elif self.timeout is not None:
                    self._wind(self.remaining)
                value = call()
        except BaseException as error:
            if self.interruption is not None and (verdict := self.verdict(error)) is not None:
                raise verdict  # noqa: B904 - the error becomes its context
            raise
        if self.interruption is not None and (verdict := self.verdict(None)) is not None:
            raise verdict
        return value

    def _wind(self, left: float) -> None:
        if left == NEVER:
            return
        # Zero would disarm the timer instead of firing it at once.
        left = max(left, 1e-6)
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

    def interrupt(self, frame: FrameType | None = None) -> None:
        """Raise into the running user code, whose innermost ``frame`` is given, what is due."""
        if self._is_coroutine or self._watch is not None:
            self.check_coroutine()
        elif (due := self.due()) is None:
            self._wind(self.due_in)
        elif not runs_called(frame, AlarmControl.run.__code__, _OWN_FILES):
            self._wind(BORDER)  # an exception would be raised in this module
        elif self.is_answered(sys.exception()):
            self._wind(RAISE_AGAIN)
        else:
            self._wind(RAISE_AGAIN)
            raised = _FORMS[type(due)](*due.args)
            self.has_interrupted = True
            self.raises(raised)
            raise raised


_OWN_FILES = frozenset(code.co_filename for code in (AlarmControl.run.__code__, Control.run.__code__))


class ReceiverAlarmControl(AlarmControl):
    """Raises ReceiverTimeout once in the main thread, while it calls receivers of a signal."""

    insists = False

    def begin(self) -> None:
        self.has_interrupted = False  # it is used for one signal after the other
        super().begin()

    def late(self) -> BaseException | None:
        if self.timeout is None or self.remaining:
            return None
        return ReceiverTimeout(f"Receivers of a task signal took longer than {plain(self.timeout)} seconds.")
