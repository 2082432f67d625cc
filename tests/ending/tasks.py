"""Tasks that end their processes."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django_tasks_q import task


def end(how: str) -> None:
    """End this process, or do what might."""
    match how:
        case "os._exit":
            os._exit(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "memory":
            raise MemoryError
        case "sys.exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "close":
            os.closerange(3, 256)


@task
def end_process(how: str) -> None:
    end(how)


@task(executor="thread")
def end_thread(how: str) -> None:
    end(how)


@task
async def end_loop(how: str) -> None:
    end(how)


@task(timeout=0.3)
def be_late(how: str) -> str:
    """Be interrupted at the deadline, in C code that no signal reaches or in other code."""
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)
    return how


@task(timeout=0.3)
async def block_loop() -> None:
    time.sleep(60)


@task(timeout=0.3)
async def be_late_in_loop() -> None:
    await asyncio.sleep(60)


@task
def run_program(mark: str, *, apart: bool) -> None:
    """Wait for a program, in a session of its own or not. Its process and that of the task are noted."""
    program = subprocess.Popen(["sleep", "600"], start_new_session=apart)
    note = Path(mark)
    note.with_suffix(".new").write_text(f"{os.getpid()} {program.pid}")
    note.with_suffix(".new").rename(note)
    program.wait()


@task
def write_to_descriptors() -> list[Any]:
    """Write where C code writes, and return what is there."""
    for fd in (0, 1, 2):
        os.write(fd, b"noise")
    return [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (0, 1, 2)]


def harm(how: str, context: Any) -> None:
    if how == "kill the fork server":
        os.kill(os.getppid(), signal.SIGKILL)
    else:
        context.set_progress(1)
    time.sleep(60)


@task(takes_context=True)
def end_worker(context: Any, how: str) -> None:
    harm(how, context)


@task(takes_context=True, executor="thread")
def end_worker_in_thread(context: Any, how: str) -> None:
    harm(how, context)
