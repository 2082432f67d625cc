"""A file that says that a worker is well, for probes that are to ask nobody else."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class HeartbeatFile:
    """The file of one worker, written with each renewal of its lease and gone when it has ended."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None

    def write(self, name: str, seconds: float) -> None:
        """Say that the worker is well, and for how long that is to be believed."""
        if self.path is None:
            return
        told = {"worker": name, "pid": os.getpid(), "at": time.time(), "good_for": seconds}
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        # Nobody reads half of it, and nobody has it written elsewhere by a link.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        # A full disk is no reason to end: the probe finds an old file, which is what is to be known.
        with suppress(OSError):
            descriptor = os.open(fresh, flags, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(told, file)
            fresh.replace(self.path)

    def remove(self) -> None:
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()


def read(path: str) -> tuple[bool, str, dict[str, Any]]:
    """Whether the worker of that file is well, why, and what the file says."""
    try:
        told = json.loads(Path(path).read_text())
        age = time.time() - float(told["at"])
        good_for = float(told["good_for"])
    except FileNotFoundError:
        return False, "there is no such file: the worker has not started, or has ended", {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        return False, f"the file cannot be read: {error}", {}
    if not -good_for <= age <= good_for:
        return False, f"the last heartbeat was {age:.0f} seconds ago", told
    return True, f"the last heartbeat was {max(0.0, age):.0f} seconds ago", told
