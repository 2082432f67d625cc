"""The signals of the process that a worker runs in, which may be somebody else's program."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: By which a worker is asked to stop.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: All that it has a use for.
USED = (*STOPS, signal.SIGQUIT, signal.SIGALRM, signal.SIGCHLD)


@contextmanager
def borrowed_signals(*, is_last: bool = False) -> Iterator[None]:
    """Within the block a worker may do with signals what it likes; afterwards they are as they were.

    What the program blocked or ignored, and a worker cannot do without, is let through meanwhile. With
    ``is_last`` the process ends behind the block: further requests to stop are ignored from then on, so that
    none of them turns an orderly end into a death by a signal. Only for the main thread.
    """
    handlers = {number: signal.getsignal(number) for number in USED}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, USED)
    wakeup = signal.set_wakeup_fd(-1)
    # Whoever ignores it, or reaps of itself, keeps the worker from hearing of the end of its own processes.
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
            elif handler is not None:  # None is one that Python has not installed
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
