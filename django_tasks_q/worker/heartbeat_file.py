"""The heartbeat file, by which a probe can check a worker without the database."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..loggers import robust_logger

logger = robust_logger("django_tasks_q.worker")

#: A new version is written through no link.
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class HeartbeatFile:
    """The file of one worker, written with each renewal of its lease and removed at its end."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None
        #: Whether the last write failed, which was logged then.
        self.has_failed = False

    def check(self) -> None:
        """Raise OSError if the file cannot be written. It is not written yet."""
        if self.path is None:
            return
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path))
        fresh = self._fresh(self.path)
        os.close(os.open(fresh, FLAGS, 0o600))
        fresh.unlink()

    def write(self, name: str, seconds: float) -> None:
        """Note that the worker of this name is well, and for how many seconds a probe should believe it."""
        if self.path is None:
            return
        content = {"worker": name, "pid": os.getpid(), "at": time.time(), "good_for": seconds}
        fresh = self._fresh(self.path)
        try:
            descriptor = os.open(fresh, FLAGS, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file)
            fresh.replace(self.path)
        except OSError as error:
            # A full disk is no reason to end: the probe finds an old file, and reports that.
            if not self.has_failed:
                logger.warning("The heartbeat file %r cannot be written: %s", str(self.path), error.strerror)
            self.has_failed = True
        else:
            self.has_failed = False

    def remove(self) -> None:
        """Remove the file."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()

    def _fresh(self, path: Path) -> Path:
        """Return the path of the new version, which then replaces the old one as a whole."""
        return path.with_name(f".{path.name}.{os.getpid()}")


def read(path: str) -> tuple[bool, str, dict[str, Any]]:
    """Return whether the worker of that file is well, the reason, and the content of the file."""
    try:
        content = json.loads(Path(path).read_text())
        age = time.time() - float(content["at"])
        good_for = float(content["good_for"])
    except FileNotFoundError:
        return False, "there is no such file: the worker has not started, or has ended", {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        return False, f"the file cannot be read: {error}", {}
    if not -good_for <= age <= good_for:
        return False, f"the last heartbeat was {age:.0f} seconds ago", content
    return True, f"the last heartbeat was {max(0.0, age):.0f} seconds ago", content
