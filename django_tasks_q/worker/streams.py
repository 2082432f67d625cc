"""The standard streams of a process, which its caller may have closed, replaced, or never opened."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from contextlib import suppress
from typing import Any

from ..forks import discard_output


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


def open_standard_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 on nothing where the caller of this process has closed them.

    Otherwise a connection would have such a number, and C code that writes an error would write to it.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def discard_unwritable() -> None:
    """Flush both streams, and discard what cannot be written, as on a full disk.

    Python would try again when it exits, and end with status 120 because of it.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard_output(stream)
        except (ValueError, AttributeError):  # closed, or None
            continue
