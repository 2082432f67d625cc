"""The standard streams of a process, which its caller may have closed, replaced, or never opened."""

from __future__ import annotations

import faulthandler
import signal
import sys
from contextlib import suppress
from typing import Any


class Streams:
    """The streams that a child started with, to find out whether a task has closed them."""

    def __init__(self) -> None:
        streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
        self._open = [stream for stream in streams if getattr(stream, "closed", None) is False]

    @property
    def are_closed(self) -> bool:
        """Whether one was open and is not any more, so that the next task that prints would fail."""
        return any(stream.closed for stream in self._open)


def dump_stack_on_quit() -> None:
    """Make SIGQUIT write the stacks to the first stream that is a file. Without one, it does nothing."""
    streams: tuple[Any, ...] = (sys.stderr, sys.__stderr__)
    for stream in streams:
        with suppress(Exception):  # None, closed, or without a descriptor
            faulthandler.register(signal.SIGQUIT, stream, all_threads=True)
            return
