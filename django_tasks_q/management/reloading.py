"""Programs of a developer that start again when code changes, with a worker that does the same.

Django's reloader works in a child process, which ends with status 3 when a file has changed. The process that
a terminal started only starts that child, again and again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.utils import autoreload

from ..worker.beside import WorkerBeside

#: The status with which Django's reloader asks to be started again.
CHANGED = 3
#: Names the descriptor to which the child writes that the project's code could be loaded.
LOADED = "DJANGO_TASKS_Q_LOADED"
#: Seconds between two looks at the files, while the code cannot be loaded.
EVERY = 0.5

Write = Callable[[str], object]


def is_reloaded() -> bool:
    """Return whether this process is the child that loads the code, and serves."""
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


def keep_running(write: Write) -> int:
    """Run this command in a child process, again when code changes. Return the exit status of the last one.

    Ctrl-C reaches the child from the terminal. Other signals to stop are passed on to it. While the code
    cannot be loaded, this waits for a change.
    """
    child: subprocess.Popen[bytes] | None = None

    def pass_on(*_: object) -> None:
        if child is not None:
            child.terminate()

    signal.signal(signal.SIGINT, lambda *_: None)  # not ignored, which the child would inherit
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    while True:
        reader, writer = os.pipe()
        environment = os.environ | {autoreload.DJANGO_AUTORELOAD_ENV: "true", LOADED: str(writer)}
        before = _versions()
        command = autoreload.get_child_arguments()
        child = subprocess.Popen(command, env=environment, pass_fds=[writer])  # noqa: S603 - this very command
        os.close(writer)
        has_loaded = bool(os.read(reader, 1))
        os.close(reader)
        status = child.wait()
        if status < 0:
            return 128 - status
        if has_loaded or status == 0:
            if status != CHANGED:
                return status
        else:
            write("The code cannot be loaded. It is tried again when a file changes.")
            if not _wait_for_change(before):
                return status


def command_line(*arguments: str) -> list[str]:
    """Return the command line by which this program runs another command with these arguments."""
    own = autoreload.get_child_arguments()
    return [*own[: len(own) - len(sys.argv[1:])], *arguments]


def report_loaded() -> None:
    """Let the parent know that the code could be loaded."""
    if (descriptor := os.environ.pop(LOADED, None)) is not None:
        os.write(int(descriptor), b".")
        os.close(int(descriptor))


def _versions() -> dict[Path, float]:
    versions = {}
    for path in autoreload.iter_all_python_module_files():
        try:
            versions[path] = path.stat().st_mtime
        except OSError:
            continue
    return versions


def _wait_for_change(before: dict[Path, float]) -> bool:
    """Wait until a file is another than before. Return False at Ctrl-C."""
    is_interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True

    handlers = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    while _versions() == before and not is_interrupted:
        time.sleep(EVERY)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return not is_interrupted


@contextmanager
def worker_beside(
    command: Sequence[str], write: Write, environment: dict[str, str]
) -> Iterator[WorkerBeside]:
    """Run a worker within the block, in the child that loads the code.

    Afterwards it is asked to stop and waited for, unless the block has ended because code has changed: then
    it finishes its jobs beside its successor. Another Ctrl-C meanwhile ends running jobs at once.
    """

    def ended(status: int) -> None:
        write(f"The worker has ended with status {status}. It is started again when code changes.")

    worker = WorkerBeside(command, ended, environment)
    is_changed = False
    try:
        yield worker
    except SystemExit as error:
        is_changed = error.code == CHANGED
        raise
    finally:
        signal.signal(signal.SIGTERM, lambda *_: None)
        worker.request_stop()
        while not is_changed:
            try:
                worker.wait()
                break
            except KeyboardInterrupt:
                worker.request_stop()
