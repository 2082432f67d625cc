"""The signal handlers of the process that a worker runs in, which may be another program's."""

from __future__ import annotations

import faulthandler
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: The signals that stop a worker.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: What is written to a worker's descriptor to stop it.
STOP = b"."
#: All signals that it uses.
USED = (*STOPS, signal.SIGQUIT, signal.SIGALRM, signal.SIGCHLD)


@contextmanager
def borrowed_signals(*, is_last: bool = False) -> Iterator[None]:
    """Let a worker change signal handlers within the block, and restore them afterwards.

    Signals that the program blocked or ignored, and that a worker needs, are let through meanwhile. With
    ``is_last`` the process ends after the block: further signals to stop are ignored from then on, so that
    none of them turns an orderly end into a death by a signal. Only for the main thread.
    """
    handlers = {number: signal.getsignal(number) for number in USED}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, USED)
    wakeup = signal.set_wakeup_fd(-1)
    # A program that ignores it, or reaps children itself, hides the end of the worker's own processes.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(wakeup)
        faulthandler.unregister(signal.SIGQUIT)
        for number, handler in handlers.items():
            if is_last and number in STOPS:
                signal.signal(number, signal.SIG_IGN)
            elif handler is not None:  # None stands for a handler that Python has not installed
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def forwarded_signals(request_stop: Callable[..., None]) -> Iterator[None]:
    """Let the signals that stop a worker call ``request_stop`` within the block, in the main thread.

    The program's own handlers are in force again afterwards. Signals that it ignores stay ignored, and
    other threads change nothing, since they receive no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in STOPS}
    heeded = [number for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)]
    for number in heeded:
        signal.signal(number, request_stop)
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, handlers[number])
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
