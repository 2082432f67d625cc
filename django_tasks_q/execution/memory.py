"""Limits the memory that the code of an attempt may use, in a process where no other code runs."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

R = TypeVar("R")

#: Not every system has it.
_LIMIT: int | None = getattr(resource, "RLIMIT_AS", None)
#: Its first number is the size that the limit is compared with, in pages.
_SIZE = Path("/proc/self/statm")
#: Bytes that are kept free for what follows when all others are used up. Nothing is written to them.
_RESERVE = 4 << 20
#: The most exceptions that are looked at to find the one that was the cause.
_CHAIN = 100


def can_limit_memory() -> bool:
    """Return whether this system can limit the memory of a process."""
    return _LIMIT is not None and _SIZE.exists()


def limit_memory(memory: int, call: Callable[[], R]) -> R:
    """Return what ``call`` returns. Beyond ``memory`` more bytes than now, this process is given none.

    Python raises MemoryError then. Processes that ``call`` starts have the same limit each. Where the system
    has no such limit, ``call`` has none.
    """
    if not can_limit_memory():
        return call()
    assert _LIMIT is not None  # noqa: S101 - for mypy
    reserve: bytearray | None = bytearray(_RESERVE)
    before = soft, hard = resource.getrlimit(_LIMIT)
    most = _size() + memory
    for bound in (soft, hard):
        if bound != resource.RLIM_INFINITY:
            most = min(most, bound)
    resource.setrlimit(_LIMIT, (most, hard))
    try:
        return call()
    except MemoryError as error:
        reserve = None
        _restore(_LIMIT, before)
        error.add_note(f"The attempt may use {memory:,} bytes more than at its start: see the option memory.")
        raise
    finally:
        reserve = None  # noqa: F841 - what is freed is room for the outcome
        _restore(_LIMIT, before)


def _size() -> int:
    return int(_SIZE.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _restore(limit: int, before: tuple[int, int]) -> None:
    try:
        resource.setrlimit(limit, before)
    except ValueError:  # the task has lowered the hard limit
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))


def has_run_out(exception: BaseException) -> bool:
    """Return whether an exception was raised because there was no memory, or follows from one that was."""
    waiting, seen = [exception], 0
    while waiting and seen < _CHAIN:
        error = waiting.pop()
        seen += 1
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        waiting += [each for each in (error.__cause__, error.__context__) if each is not None]
    return False
