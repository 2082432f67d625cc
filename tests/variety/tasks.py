"""One body for all draws: what a run does is in its arguments, and what it did is in a journal.

The journal is a file that every process appends whole lines to: no code under test has a hand in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection

from django_tasks_q import Snooze, TaskFailure, task

#: Runs that are to outlive their timeout sleep for this long, in pieces or in one.
LONG = 60.0


class Wanted(Exception):
    """An error that the draw asked for."""


class Run:
    """One run of a job, as its own code sees it."""

    def __init__(self, context: Any, root: str, steps: list[dict[str, Any]]) -> None:
        job = context._attempt.job
        self.context, self.root = context, root
        self.job, self.fence, self.pid = str(job.id), job.fence, os.getpid()
        self.number = _count(f"{root}/runs/{self.job}") if len(steps) > 1 else 1
        self.step = steps[min(self.number, len(steps)) - 1]
        self.end = self.step["end"]
        self.tell("begin")

    def tell(self, what: str) -> None:
        line = [what, self.job, self.fence, self.number, os.getpid(), time.monotonic(), self.end]
        _append(f"{self.root}/journal", json.dumps(line) + "\n")

    @property
    def is_copy(self) -> bool:
        """Whether this process is a fork of the one that was given the job."""
        return os.getpid() != self.pid

    def deeds(self, but: str = "") -> Any:
        """What it does before its end. Answers what a fork of it leaves with, else None."""
        for deed in self.step["deeds"]:
            if deed != but:
                DEEDS[deed](self)
            if self.is_copy:
                return {"copy": self.pid}
        return None

    def naps(self) -> Iterator[float]:
        """Seconds to sleep, piece by piece: what is to be interrupted must come by Python code."""
        if self.end == "timeout":
            yield from [0.01] * int(LONG * 100)
        else:
            yield self.step["seconds"]

    def leave(self) -> Any:
        """The end of the run, in the process that was given the job."""
        self.tell("end")
        match self.end:
            case "raise":
                raise Wanted(f"{self.job} {self.number}")
            case "fail":
                raise TaskFailure("WANTED", f"{self.job} {self.number}", retry=False)
            case "snooze":
                raise Snooze(self.step["delay"])
            case "_exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                sys.exit(f"{self.job} {self.number}")
            case "cancel":
                self.context.cancel("wanted")
            case "unstorable":
                return object()
        return {"job": self.job, "fence": self.fence, "pid": os.getpid(), "pad": "r" * self.step["result"]}


def _append(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _count(path: str) -> int:
    """How many have come by, this one included."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, b".")
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


# Deeds


def _print(run: Run) -> None:
    _write(f"<{run.job}:{run.fence}>\n")


def _print_much(run: Run) -> None:
    _write("much " * 4000 + "\n")
    _print(run)


def _write(text: str) -> None:
    # An earlier job may have closed it.
    with suppress(ValueError, OSError, AttributeError):
        sys.stdout.write(text)


def _close_stdout(run: Run) -> None:
    # It cannot be flushed where an earlier job has put it on a full disk.
    with suppress(OSError, AttributeError):
        sys.stdout.close()


def _close_stderr(run: Run) -> None:
    with suppress(OSError, AttributeError):
        sys.stderr.close()


def _no_stdout(run: Run) -> None:
    sys.stdout = None  # type: ignore[assignment]


def _full_stdout(run: Run) -> None:
    """Leave text in a buffer that can never be written."""
    sys.stdout = open("/dev/full", "w")  # noqa: PTH123, SIM115
    sys.stdout.write("never")


def _fork_and_return(run: Run) -> None:
    os.fork()


def _fork_and_exit(run: Run) -> None:
    if not os.fork():
        sys.exit(0)


def _fork_and_raise(run: Run) -> None:
    if not os.fork():
        raise Wanted("of a fork")


def _fork_and_fail_to_exec(run: Run) -> None:
    if not os.fork():
        os.execv("/no/such/program", ["program"])


def _fork_and_leave(run: Run) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _thread(run: Run) -> None:
    """Leave a thread behind."""
    threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()


def _threads(run: Run) -> None:
    threads = [threading.Thread(target=time.sleep, args=(0.002,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _session(run: Run) -> None:
    """Use the database, in this thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _session_of_a_thread(run: Run) -> None:
    """Use the database in a thread that never closes what it has opened."""
    thread = threading.Thread(target=_session, args=(run,))
    thread.start()
    thread.join()


def _program(run: Run) -> None:
    subprocess.run(["true"], check=True)


def _program_left(run: Run) -> None:
    subprocess.Popen(["sleep", "30"])


DEEDS = {
    "print": _print,
    "print much": _print_much,
    "close stdout": _close_stdout,
    "close stderr": _close_stderr,
    "no stdout": _no_stdout,
    "full stdout": _full_stdout,
    "fork, return": _fork_and_return,
    "fork, exit": _fork_and_exit,
    "fork, raise": _fork_and_raise,
    "fork, exec fails": _fork_and_fail_to_exec,
    "fork, _exit": _fork_and_leave,
    "thread": _thread,
    "threads": _threads,
    "session": _session,
    "session of a thread": _session_of_a_thread,
    "program": _program,
    "program left": _program_left,
}
#: After which what later runs print is nobody's business.
SPOIL_STREAMS = ("close stdout", "no stdout", "full stdout")


# Bodies


def run(context: Any, root: str, steps: list[dict[str, Any]], pad: str) -> Any:
    doing = Run(context, root, steps)
    copied = doing.deeds()
    if copied:
        return copied
    if doing.end == "stubborn":
        _outlive(doing)
    for nap in doing.naps():
        time.sleep(nap)
    return doing.leave()


def _outlive(doing: Run) -> None:
    """Hear of no timeout."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        try:
            time.sleep(until - time.monotonic())
        except BaseException:
            continue


@task(takes_context=True)
def in_process(context: Any, root: str, steps: list[dict[str, Any]], pad: str) -> Any:
    return run(context, root, steps, pad)


@task(takes_context=True, executor="thread")
def in_thread(context: Any, root: str, steps: list[dict[str, Any]], pad: str) -> Any:
    return run(context, root, steps, pad)


@task(takes_context=True, atomic=True)
def in_transaction(context: Any, root: str, steps: list[dict[str, Any]], pad: str) -> Any:
    return run(context, root, steps, pad)


@task(takes_context=True)
async def on_loop(context: Any, root: str, steps: list[dict[str, Any]], pad: str) -> Any:
    doing = Run(context, root, steps)
    if "session" in doing.step["deeds"]:
        await sync_to_async(_session)(doing)
    copied = doing.deeds(but="session")
    if copied:
        return copied
    if doing.end == "stubborn":
        _outlive(doing)
    for nap in doing.naps():
        await asyncio.sleep(nap)
    return doing.leave()


BODIES = {"process": in_process, "thread": in_thread, "async": on_loop, "atomic": in_transaction}
