"""Signals that a child ignores, and that still end the processes which tasks fork from it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable


class _IgnoredHere:
    """A handler that does nothing in this process, and the default in those that C code forks from it.

    Programs that tasks start lose it altogether, as they would not lose an ignored signal.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __call__(self, number: int, frame: object) -> None:
        if os.getpid() != self.pid:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class _Forks(threading.local):
    """What happens around each fork of a thread: no signal arrives before the new process is ready for it."""

    def __init__(self, ignored: frozenset[signal.Signals]) -> None:
        self.ignored = ignored
        self.mask: set[int | signal.Signals] = set()

    def block(self) -> None:
        self.mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self.ignored))

    def unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def restore(self) -> None:
        for number in self.ignored:
            if isinstance(signal.getsignal(number), _IgnoredHere):
                signal.signal(number, signal.SIG_DFL)
        self.unblock()


def ignore_here(numbers: Iterable[signal.Signals]) -> None:
    """Ignore these signals in this process, and have the default in those that ``os.fork()`` makes of it.

    Python forgets what a handler of Python code has not yet run for when a new process starts, and such a
    process would then outlive its ``terminate()``. So the signals are blocked while a process is forked.
    """
    forks = _Forks(frozenset(numbers))
    for number in forks.ignored:
        signal.signal(number, _IgnoredHere())
    os.register_at_fork(before=forks.block, after_in_parent=forks.unblock, after_in_child=forks.restore)
