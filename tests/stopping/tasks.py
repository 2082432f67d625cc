"""Tasks that are still running when their worker stops, or that swallow what interrupts them."""

import asyncio
import atexit
import os
import tempfile
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from django_tasks_q import Depends, TaskTimeout, WorkerStopping, current_context, task
from django_tasks_q.executors import AsyncExecutor, ProcessExecutor, ThreadExecutor

from .receivers import note as hear
from .receivers import request_id

EXECUTORS = ("process", "thread", "async")


def note(path: str, line: object) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


def wait() -> None:
    """In pieces, for threads that no signal wakes."""
    for _ in range(6000):
        time.sleep(0.01)


@contextmanager
def closing(context: Any) -> Iterator[None]:
    try:
        yield
    finally:
        note(context.task_result.args[0], "closed")


def around(get_value: Any) -> Any:
    def middleware(context: Any) -> Any:
        try:
            return get_value(context)
        finally:
            note(context.task_result.args[0], "left")

    return middleware


def meet_a_stop(path: str, how: str) -> str:
    context = current_context()
    note(path, "there")
    match how:
        case "unaware":
            try:
                wait()
            finally:
                note(path, f"finally, stopping {context.stopping}")
        case "asleep":
            context.sleep(60)
        case "cooperative":
            while not context.stopping:
                time.sleep(0.01)
            return "stopped early"
        case "named":
            try:
                wait()
            except WorkerStopping:
                return "caught"
        case "failing":
            try:
                wait()
            except WorkerStopping:
                raise ValueError("not now") from None
        case "swallowing":
            swallow("loop")
        case "raising":
            while not context.stopping:
                time.sleep(0.01)
            raise WorkerStopping
        case "early":
            raise WorkerStopping
    return "slept"


async def ameet_a_stop(path: str, how: str) -> str:
    context = current_context()
    note(path, "there")
    match how:
        case "unaware":
            try:
                await asyncio.sleep(60)
            finally:
                note(path, f"finally, stopping {context.stopping}")
        case "asleep":
            await context.asleep(60)
        case "cooperative":
            while not context.stopping:
                await asyncio.sleep(0.01)
            return "stopped early"
        case "failing":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise ValueError("not now") from None
        case "swallowing":
            for _ in range(3):
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
        case "raising":
            while not context.stopping:
                await asyncio.sleep(0.01)
            raise WorkerStopping
    return "slept"


@task(middleware=[around], max_attempts=2)
def stop_in_process(path: str, how: str, first: Annotated[None, Depends(closing)]) -> str:
    return meet_a_stop(path, how)


@task(middleware=[around], max_attempts=2, executor="thread")
def stop_in_thread(path: str, how: str, first: Annotated[None, Depends(closing)]) -> str:
    return meet_a_stop(path, how)


@task(middleware=[around], max_attempts=2)
async def stop_in_loop(path: str, how: str, first: Annotated[None, Depends(closing)]) -> str:
    return await ameet_a_stop(path, how)


@task
async def stop_in_bare_loop(path: str, how: str) -> str:
    return await ameet_a_stop(path, how)


@task(executor="process")
async def stop_in_own_loop(path: str, how: str) -> str:
    return await ameet_a_stop(path, how)


@task
def stop_in_generator(path: str, how: str) -> Iterator[str]:
    try:
        yield meet_a_stop(path, "asleep")
    finally:
        note(path, "generator closed")


@task(on_lost="fail")
def stop_once(path: str, how: str) -> str:
    return meet_a_stop(path, how)


# Swallowed timeouts

NAMED = (TaskTimeout, KeyError)


class Careless:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> bool:
        return True


def swallow(how: str) -> str:
    """Be interrupted in code that catches everything, as some libraries do."""
    match how:
        case "loop":
            for _ in range(3):
                with suppress(BaseException):
                    wait()
        case "once":
            try:
                wait()
            except BaseException:
                note(os.devnull, "swallowed")
            wait()
        case "bare":
            try:
                wait()
            except:  # noqa: E722
                return "caught"
        case "finally":
            try:
                wait()
            finally:
                return "caught"  # noqa: B012
        case "context manager":
            with Careless():
                wait()
        case "other error":
            try:
                wait()
            except BaseException as error:
                raise ConnectionError("The server has hung up.") from error
        case "path":
            with suppress(BaseException):
                os.path.exists(Slow())  # noqa: PTH110
    return "slept"


class Slow:
    def __fspath__(self) -> str:
        wait()
        return "/"


def heed(path: str, how: str) -> str:
    """Heed the deadline, in code that takes its time for that."""
    match how:
        case "cleanup":
            try:
                wait()
            finally:
                for _ in range(70):
                    time.sleep(0.01)
                note(path, "cleaned up")
        case "named":
            try:
                wait()
            except TaskTimeout:
                for _ in range(35):
                    time.sleep(0.01)
            for _ in range(35):
                time.sleep(0.01)
            return "named"
        case "tuple":
            try:
                wait()
            except NAMED:
                return "named"
    return "slept"


@task(timeout=0.4, max_attempts=2, backoff=0, retry_on=[ConnectionError])
def swallow_in_process(how: str) -> str:
    return swallow(how)


@task(timeout=0.4, max_attempts=2, backoff=0, retry_on=[ConnectionError], executor="thread")
def swallow_in_thread(how: str) -> str:
    return swallow(how)


@task(timeout=0.4)
def heed_in_process(path: str, how: str) -> str:
    return heed(path, how)


@task(timeout=0.4, executor="thread")
def heed_in_thread(path: str, how: str) -> str:
    return heed(path, how)


async def pieces() -> AsyncIterator[int]:
    try:
        yield 1
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.6)


async def aswallow(path: str, how: str) -> str:
    match how:
        case "loop":
            for _ in range(3):
                with suppress(BaseException):
                    await asyncio.sleep(60)
        case "once":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                note(os.devnull, "swallowed")
            await asyncio.sleep(60)
        case "return":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "caught"
        case "shield":
            await asyncio.shield(asyncio.sleep(60))
        case "other error":
            try:
                await asyncio.sleep(60)
            except BaseException as error:
                raise ConnectionError("The server has hung up.") from error
        case "cleanup":
            try:
                async for _ in pieces():
                    pass
            finally:
                await asyncio.sleep(0.6)
                note(path, "cleaned up")
    return "slept"


@task(timeout=0.4, max_attempts=2, backoff=0, retry_on=[ConnectionError])
async def swallow_in_loop(path: str, how: str) -> str:
    return await aswallow(path, how)


@task(timeout=0.4, max_attempts=2, backoff=0, retry_on=[ConnectionError], executor="process")
async def swallow_in_own_loop(path: str, how: str) -> str:
    return await aswallow(path, how)


# Endings that receivers hear of


@task(timeout=0.3)
def be_late(name: str) -> None:
    request_id.set(name)
    wait()


@task(timeout=0.3, executor="thread")
def be_late_in_thread(name: str) -> None:
    request_id.set(name)
    wait()


@task(timeout=0.3)
async def be_late_in_loop(name: str) -> None:
    request_id.set(name)
    await asyncio.sleep(60)


@task(max_attempts=2, backoff=0)
def fail(name: str) -> None:
    request_id.set(name)
    raise ValueError(name)


@task
def run_on(name: str) -> None:
    request_id.set(name)
    hear(f"there {name}")
    wait()


@task
def die(name: str) -> None:
    os._exit(1)


@task
def cancel_itself(name: str) -> None:
    request_id.set(name)
    current_context().cancel("enough")


# Orderly ends of children


class InProcess(ProcessExecutor):
    def start(self) -> None:
        hear(f"start {type(self).__name__} {os.getpid()}")

    def stop(self) -> None:
        hear(f"stop {type(self).__name__} {os.getpid()}")


class InThread(ThreadExecutor):
    start, stop = InProcess.start, InProcess.stop


class InLoop(AsyncExecutor):
    start, stop = InProcess.start, InProcess.stop


def prepare_end(name: str) -> str:
    """Register all sorts of exit functions, and return a folder that is to be removed."""
    folder = tempfile.TemporaryDirectory()
    kept.append(folder)
    atexit.register(hear, f"atexit {name}")
    atexit.register(int, "an error")
    threading._register_atexit(hear, f"thread {name}")  # type: ignore[attr-defined]
    weakref.finalize(folder, hear, f"finalizer {name}")
    return folder.name


kept: list[Any] = []


@task(executor="tests.stopping.tasks.InProcess")
def end_process(name: str) -> str:
    return prepare_end(name)


@task(executor="tests.stopping.tasks.InThread")
def end_thread(name: str) -> str:
    return prepare_end(name)


@task(executor="tests.stopping.tasks.InLoop")
async def end_loop(name: str) -> str:
    return prepare_end(name)


@task
def never_exit() -> None:
    atexit.register(wait)


@task
def say(text: str) -> None:
    print(text)


@task(executor="thread")
def say_in_thread(text: str) -> None:
    print(text)


@task
async def say_in_loop(text: str) -> None:
    print(text)


def leave_span(name: str) -> None:
    from opentelemetry import trace

    with trace.get_tracer("tests").start_as_current_span(name):
        pass


@task
def span(name: str) -> None:
    leave_span(name)


@task(executor="thread")
def span_in_thread(name: str) -> None:
    leave_span(name)


@task
async def span_in_loop(name: str) -> None:
    leave_span(name)


@task(max_attempts=1)
def report(name: str) -> None:
    import sentry_sdk

    sentry_sdk.capture_message(name)
