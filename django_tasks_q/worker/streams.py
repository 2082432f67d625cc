"""The streams of a process, which whoever called the worker may have closed, replaced, or never had."""

from __future__ import annotations

import faulthandler
import signal
import sys
from contextlib import suppress
from typing import Any


def dump_stack_on_quit() -> None:
    """Have SIGQUIT write the stack to the first stream that is a file; without one, nowhere."""
    streams: tuple[Any, ...] = (sys.stderr, sys.__stderr__)
    for stream in streams:
        with suppress(Exception):  # None, closed, or without a descriptor
            faulthandler.register(signal.SIGQUIT, stream, all_threads=True)
            return
