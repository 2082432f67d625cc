import mmap
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType

from django.apps import AppConfig

import django_tasks_q

PACKAGE = Path(django_tasks_q.__file__).parent


class Trace:
    """Writes down in which files of the package functions run, in this process and those that it forks.

    ``folder`` has a file ``on``: nothing is recorded while its first byte is 0, and what follows is the
    number under which files are recorded while it is not.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with (folder / "on").open("r+b") as file:
            self._on = mmap.mmap(file.fileno(), 1)
        self._seen: set[tuple[int, CodeType]] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        number = self._on[0]
        if not number or event != "call":
            return
        code = frame.f_code
        # What a module does as it is imported is no part of a job's way.
        if (number, code) not in self._seen and code.co_name != "<module>":
            self._seen.add((number, code))
            path = Path(code.co_filename)
            if path.is_relative_to(PACKAGE):
                with (self._folder / str(number)).open("a") as file:
                    file.write(f"{path.relative_to(PACKAGE)}\n")


class Traced(AppConfig):
    name = "tests.traced"

    def ready(self) -> None:
        """Record what runs, where the environment says to which folder."""
        if folder := os.environ.get("TRACE"):
            trace = Trace(Path(folder))
            threading.setprofile(trace)
            sys.setprofile(trace)
