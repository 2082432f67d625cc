"""The streams of a process, which whoever called the worker may have closed, replaced, or never had."""

from __future__ import annotations

import faulthandler
import signal
import sys
from contextlib import suppress
from typing import Any


class Streams:
    """The streams that a child has begun with, to know whether a task has closed them."""

    def __init__(self) -> None:
        streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
        self._open = [stream for stream in streams if getattr(stream, "closed", None) is False]

    @property
    def are_closed(self) -> bool:
        """Whether one was open and is not any more: whoever prints from now on would fail."""
        return any(stream.closed for stream in self._open)


def dump_stack_on_quit() -> None:
    """Have SIGQUIT write the stack to the first stream that is a file; without one, nowhere."""
    streams: tuple[Any, ...] = (sys.stderr, sys.__stderr__)
    for stream in streams:
        with suppress(Exception):  # None, closed, or without a descriptor
            faulthandler.register(signal.SIGQUIT, stream, all_threads=True)
            return
