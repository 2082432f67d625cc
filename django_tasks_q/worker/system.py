"""What the worker needs of the operating system, with fallbacks where it is not Linux."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Make this process die when its parent dies, however that happens (Linux; else a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)


def wake_when_parent_dies() -> None:
    """Make the system send SIGCONT to this process when its parent dies (Linux; else a no-op).

    That also wakes a process that was stopped. It may have come too late: ``os.getppid()`` says that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that they can be reaped (Linux; else a no-op)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_group(pid: int) -> None:
    """SIGKILL a child and the processes of its session's group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
            return
        except ProcessLookupError:  # not yet leader of a group of its own, or gone already
            continue


def kill_process(pid: int) -> None:
    """SIGKILL one process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """Return the processes that have this one as parent."""
    found: list[int] = []
    if sys.platform == "linux":
        with suppress(OSError):  # also where there is no descriptor left to look
            for listing in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += map(int, listing.read_text().split())
        return found
    psutil = _psutil()
    return [] if psutil is None else [child.pid for child in psutil.Process(pid).children()]


def _living_children() -> bool:
    """Reap the children of this process that have ended. Return whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill_descendants(timeout: float = 2.0) -> bool:
    """SIGKILL and reap the processes below this one. Costs one system call where there are none.

    Those whose own parent dies become children of this process if it adopts orphans, and are next.
    Return whether one of them was alive.
    """
    if not _living_children():
        return False
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for pid in children_of(os.getpid()):
            kill_process(pid)
        if not _living_children():
            break
        time.sleep(0.001)
    return True


def resident_memory(pid: int) -> int:
    """Return the bytes of memory that a process uses; 0 if that cannot be found out."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    if (psutil := _psutil()) is not None:
        with suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
    return 0


def _psutil() -> Any:
    """Return psutil, used where there is no /proc. It comes with the extra ``worker``."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil


def describe_exit(status: int) -> str:
    """Return a wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"The process exited with status {code} without an answer"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"The process was killed by {name}"
