"""Finds out whether the kernel has killed a process of this worker because memory was used up."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: Where a process reads which control groups it is in.
MEMBERSHIP = "/proc/self/cgroup"
#: Where the control groups of version 2 are.
ROOT = "/sys/fs/cgroup"
#: Seconds within which processes count as killed for the same want of memory.
TOGETHER = 1.0


class Counts(NamedTuple):
    """What the kernel counts of a control group."""

    #: Times the memory that the group may use was used up.
    used_up: int
    #: Processes of the group that were killed for want of memory, also of memory of the whole system.
    killed: int


class MemoryKills:
    """Reads the kernel's counts of this process' own control group, which its children belong to as well."""

    def __init__(self) -> None:
        self._path = _events_file()
        self._seen = self._read()
        self._latest = Counts(0, 0), -TOGETHER

    def reason(self) -> str:
        """Return in words why a process was killed by SIGKILL that the worker has not sent."""
        before, now = self._seen, self._read()
        if before is None or now is None:
            return (
                "The process was killed by SIGKILL, which the worker has not sent. "
                "The kernel may have, if memory was used up"
            )
        moment = time.monotonic()
        if now.killed > before.killed:
            self._latest = Counts(*(new - old for new, old in zip(now, before, strict=True))), moment
            self._seen = now
        grown, at = self._latest
        if moment - at > TOGETHER:
            return "The process was killed by SIGKILL, which the worker has not sent"
        memory = "the memory of its control group" if grown.used_up else "the memory of the system"
        return f"The process was killed by the kernel (SIGKILL) because {memory} was used up"

    def _read(self) -> Counts | None:
        if self._path is None:
            return None
        with suppress(OSError, ValueError, KeyError):
            pairs = dict(line.split() for line in self._path.read_text().splitlines())
            return Counts(int(pairs["oom"]), int(pairs["oom_kill"]))
        return None


def _events_file() -> Path | None:
    """Return the file of the counts; None where there is no control group of version 2."""
    with suppress(OSError):
        for line in Path(MEMBERSHIP).read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                return Path(ROOT) / path.lstrip("/") / "memory.events"
    return None
