"""Tasks that try how their attempts end."""

import asyncio
import decimal
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from asgiref.sync import sync_to_async
from django.db import transaction

from django_tasks_q import Depends, TaskCancelled, TaskTimeout, task
from django_tasks_q.executors import ProcessExecutor
from tests.tasksapp.models import Effect

#: How a copy may come back, and the status it then has.
WAYS = {"return": 0, "exit": 0, "exit 3": 3, "exit text": 1, "exec": 1, "raise": 1}


def fork(how: str) -> int | None:
    """Fork. The copy comes back, in one way or another; the original answers how it ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    match how:
        case "exit":
            sys.exit(0)
        case "exit 3":
            sys.exit(3)
        case "exit text":
            sys.exit("a copy")
        case "exec":
            os.execv("/nowhere", ["nowhere"])
        case "raise":
            raise ValueError("a copy")
    return None


def note_status(how: str, path: str) -> None:
    if (status := fork(how)) is not None:
        note(path, status)


def note(path: str, line: object) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


@task
def note_once(path: str) -> None:
    """Its receivers fork."""


@task
def fork_in_process(how: str, path: str) -> int | None:
    return fork(how)


@task(executor="thread")
def fork_in_thread(how: str, path: str) -> int | None:
    return fork(how)


@task
async def fork_in_loop(how: str, path: str) -> int | None:
    return fork(how)


@task(executor="process")
async def fork_in_own_loop(how: str, path: str) -> int | None:
    return fork(how)


@task
async def fork_in_thread_of_loop(how: str, path: str) -> int | None:
    return await sync_to_async(fork)(how)


@task(atomic=True)
def fork_atomically(how: str, path: str) -> int | None:
    return fork(how)


@task(atomic=True)
def fork_after_commit(how: str, path: str) -> str:
    transaction.on_commit(lambda: note_status(how, path))
    return "done"


@task
def fork_in_generator(how: str, path: str) -> Iterator[int | None]:
    yield fork(how)


def fork_on_yield(value: Any) -> None:
    note_status(*value)


@task(on_yield=fork_on_yield)
def fork_in_handler(how: str, path: str) -> Iterator[tuple[str, str]]:
    yield how, path
    note(path, "resumed")


@task
async def fork_in_async_generator(how: str, path: str) -> AsyncIterator[int | None]:
    yield fork(how)


def forked(context: Any) -> int | None:
    return fork(context.task_result.args[0])


@contextmanager
def noted(context: Any) -> Iterator[None]:
    yield
    note(context.task_result.args[1], "closed")


@task
def fork_in_dependency(
    how: str,
    path: str,
    status: Annotated[int | None, Depends(forked)],
    first: Annotated[None, Depends(noted)],
) -> int | None:
    note(path, "called")
    return status


@task
def fork_within_dependency(how: str, path: str, first: Annotated[None, Depends(noted)]) -> int | None:
    return fork(how)


def forking_before(get_value: Any) -> Any:
    def middleware(context: Any) -> Any:
        status = fork(context.task_result.args[0])
        get_value(context)
        return status

    return middleware


def forking_behind(get_value: Any) -> Any:
    def middleware(context: Any) -> Any:
        get_value(context)
        return fork(context.task_result.args[0])

    return middleware


def noting(get_value: Any) -> Any:
    def middleware(context: Any) -> Any:
        try:
            return get_value(context)
        finally:
            note(context.task_result.args[1], "left")

    return middleware


@task(middleware=[noting, forking_before])
def fork_before(how: str, path: str) -> None:
    note(path, "called")


@task(middleware=[noting, forking_behind])
def fork_behind(how: str, path: str) -> None:
    note(path, "called")


class Forking(ProcessExecutor):
    def start(self) -> None:
        self.status = fork("return")

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        fork(args[0])
        return self.status


@task(executor="tests.attempts.tasks.Forking")
def fork_in_executor(how: str, path: str) -> None:
    pass


def fork_to_wait(exception: BaseException, task_result: Any) -> float:
    fork("return")
    return 0.0


@task(max_attempts=2, backoff=fork_to_wait, takes_context=True)
def fork_in_backoff(context: Any, how: str, path: str) -> int:
    if context.attempt == 1:
        raise ValueError("once more")
    return WAYS[how]


# Streams


@task
def spoil(how: str) -> None:
    """Leave a stream that cannot be flushed."""
    name, way = how.split()
    match way:
        case "closed":
            getattr(sys, name).close()
        case "none":
            setattr(sys, name, None)
        case "pipe":
            reader, writer = os.pipe()
            os.close(reader)
            setattr(sys, name, os.fdopen(writer, "w"))
            getattr(sys, name).write("lost")
        case "full":
            setattr(sys, name, Path("/dev/full").open("w"))  # noqa: SIM115
            getattr(sys, name).write("lost")


@task
def spoil_and_leave_open(name: str) -> None:
    """Have something to be logged behind the task."""
    transaction.set_autocommit(False)
    list(Effect.objects.all())
    getattr(sys, name).close()


def close_stdout() -> None:
    """As ``with sys.stdout`` does, and wrappers around its buffer when they are collected."""
    sys.stdout.close()


def say() -> None:
    print("heard")


@task
def close_in_process() -> None:
    close_stdout()


@task
def say_in_process() -> None:
    say()


@task(executor="thread")
def close_in_thread() -> None:
    close_stdout()


@task(executor="thread")
def say_in_thread() -> None:
    say()


@task
async def close_in_loop() -> None:
    close_stdout()


@task
async def say_in_loop() -> None:
    say()


# Interruptions


class Slow:
    """A path that takes its time to be looked at."""

    def __fspath__(self) -> str:
        wait()
        return "/"


def wait() -> None:
    """In pieces, for threads that no signal wakes."""
    for _ in range(6000):
        time.sleep(0.01)


def meet(how: str, stop: type[BaseException]) -> str:
    """Be interrupted in one of the ways in which code does not expect it."""
    match how:
        case "exists":
            return str(os.path.exists(Slow()))  # noqa: PTH110 - it is what others call
        case "os error":
            try:
                wait()
            except OSError as error:
                raise ConnectionError("The server has hung up.") from error
        case "loop":
            for _ in range(100):
                with suppress(Exception):
                    wait()
        case "exception":
            try:
                wait()
            except Exception:
                return "caught"
        case "built in":
            try:
                wait()
            except TimeoutError:
                return "caught"
        case "name":
            try:
                wait()
            except stop:
                return "caught"
        case "base":
            try:
                wait()
            except BaseException:
                return "caught"
        case "context manager":
            with tolerant():
                wait()
    return "slept"


@contextmanager
def tolerant() -> Iterator[None]:
    try:
        yield
    except Exception:
        return


@task(timeout=0.4, max_attempts=2, backoff=0, retry_on=[ConnectionError])
def be_late(how: str) -> str:
    return meet(how, TaskTimeout)


@task(timeout=0.4, executor="thread", max_attempts=2, backoff=0, retry_on=[ConnectionError])
def be_late_in_thread(how: str) -> str:
    return meet(how, TaskTimeout)


@task(timeout=0.4, takes_context=True)
def be_late_in_pool(context: Any) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(context.sleep, 60).result()


@task(timeout=0.4, takes_context=True)
async def be_late_in_loop(context: Any, how: str) -> str:
    match how:
        case "wait":
            try:
                await asyncio.sleep(60)
            except Exception:
                return "caught"
        case "thread":
            await sync_to_async(meet)("loop", TaskTimeout)
        case "check":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                context.sleep(0)
    return "slept"


@task(timeout=0.4, max_attempts=2, backoff=0, retry_on=TimeoutError)
def be_late_twice() -> None:
    wait()


@task
def ignore_cancellation(path: str, how: str) -> str:
    note(path, "there")
    return meet(how, TaskCancelled)


# Arguments that are read from the database


@task(max_attempts=3, backoff=0)
def count_effects(effects: list[Effect], more: dict[str, Effect]) -> list[int]:
    return [len({id(effect) for effect in effects}), len(effects), len(more)]


@task
async def count_effects_in_loop(effects: list[Effect]) -> int:
    return len(effects)


class SlowEffect(Effect):
    """Takes its time to be read."""

    class Meta:
        proxy = True
        app_label = "tasksapp"

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Any:
        wait()
        return super().from_db(*args, **kwargs)


@task(timeout=0.4)
def take_slow(effects: list[SlowEffect]) -> int:
    return len(effects)


@task(timeout=0.4, executor="thread")
def take_slow_in_thread(effects: list[SlowEffect]) -> int:
    return len(effects)


@task(timeout=0.4)
async def take_slow_in_loop(effects: list[SlowEffect]) -> int:
    return len(effects)


# Context variables

who: ContextVar[str | None] = ContextVar("who", default=None)


def leave_traces(name: str, fails: bool) -> list[Any]:
    """Answers what there was before."""
    found = [who.get(), decimal.getcontext().prec]
    who.set(name)
    decimal.getcontext().prec = 3
    if fails:
        raise LookupError(name)
    return found


@task
def leave_traces_in_process(name: str, fails: bool = False) -> list[Any]:
    return leave_traces(name, fails)


@task(executor="thread")
def leave_traces_in_thread(name: str, fails: bool = False) -> list[Any]:
    return leave_traces(name, fails)


@task
async def leave_traces_in_loop(name: str, fails: bool = False) -> list[Any]:
    return leave_traces(name, fails)


@task(takes_context=True)
def cancel_itself(context: Any) -> None:
    context.cancel("not wanted")


@task
def leave_in_sentry(user: str, fails: bool) -> None:
    import sentry_sdk

    if user:
        sentry_sdk.set_user({"id": user})
    if fails:
        raise LookupError(user)


def end_forked_processes(count):
    """Fork processes, end each one at once, and return how many have not heard that."""
    pids = []
    for _ in range(count):
        if not (pid := os.fork()):
            time.sleep(0.5)
            os._exit(0)
        os.kill(pid, signal.SIGTERM)
        pids.append(pid)
    return sum(os.waitpid(pid, 0)[1] != signal.SIGTERM for pid in pids)


@task
def end_forked_in_process(count):
    return end_forked_processes(count)


@task(executor="thread")
def end_forked_in_thread(count):
    return end_forked_processes(count)
