"""The streams of a process, which whoever called the worker may have closed, replaced, or never had."""

from __future__ import annotations

import faulthandler
import signal
import sys
from contextlib import suppress


def flush_streams() -> None:
    """Flush both, as far as there is something to flush. Raises nothing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def dump_stack_on_quit() -> None:
    """Have SIGQUIT write the stack to the first stream that is a file; without one, nowhere."""
    for stream in (sys.stderr, sys.__stderr__):
        if stream is not None:
            with suppress(Exception):  # closed, or without a descriptor
                faulthandler.register(signal.SIGQUIT, stream, all_threads=True)
                return
