"""Tasks that behave in every way a task can."""

import asyncio
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction

from django_tasks_q import Snooze, TaskCancelled, TaskFailure, TaskTimeout, task
from django_tasks_q.models import Job

from .models import Effect


def put_down(mark: str, text: str) -> None:
    """Write a file that has all of its text from the moment at which it is there."""
    part = Path(f"{mark}.part")
    part.write_text(text)
    part.rename(mark)


@task
def noop() -> None:
    pass


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
async def async_add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@task(name="named.task", queue_name="named", priority=7)
def named() -> str:
    return "named"


@task(takes_context=True)
def describe(context: Any, extra: str = "") -> dict[str, Any]:
    return {
        "attempt": context.attempt,
        "job_id": context.job_id,
        "result_id": context.task_result.id,
        "worker_id": context.worker_id,
        "worker_ids": context.task_result.worker_ids,
        "status": str(context.task_result.status),
        "extra": extra,
    }


@task
def leave(key: str) -> int:
    """Count that this ran."""
    Effect.objects.create(key=key, pid=os.getpid())
    return os.getpid()


@task
def fail(message: str = "failed on purpose") -> None:
    raise ValueError(message)


@task(max_attempts=3, backoff=0)
def fail_thrice() -> None:
    raise ValueError("again")


@task(max_attempts=3, backoff=0, takes_context=True)
def succeed_at(context: Any, attempt: int) -> int:
    if context.attempt < attempt:
        raise ConnectionError(f"attempt {context.attempt}")
    return int(context.attempt)


@task(max_attempts=5, backoff=3600)
def fail_slowly() -> None:
    raise ValueError("in an hour")


@task(max_attempts=5, backoff=0, retry_on=[ConnectionError], dont_retry_on=[BrokenPipeError])
def fail_with(kind: str) -> None:
    raise {"connection": ConnectionError, "pipe": BrokenPipeError, "value": ValueError}[kind](kind)


@task
def sleep(seconds: float, mark: str = "") -> int:
    """Say that it runs, in a file, and sleep."""
    if mark:
        put_down(mark, str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


@task
def wait_for_file(path: str, mark: str = "") -> int:
    """Run until somebody makes a file."""
    if mark:
        put_down(mark, str(os.getpid()))
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


@task(timeout=0.5)
def spin(how: str = "loop") -> None:
    """Outlive the timeout in a way that asks for force."""
    while True:
        try:
            while True:
                if how == "sleep":
                    time.sleep(60)
        except BaseException:
            if how != "stubborn":
                raise


@task(timeout=0.5)
def leave_grandchild(mark: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    put_down(mark, str(process.pid))
    time.sleep(600)


@task
def crash(how: str = "kill") -> None:
    match how:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(0)
        case "abort":
            os.abort()


@task
def crash_once(mark: str) -> str:
    path = Path(mark)
    if not path.exists():
        path.write_text("crashed")
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


@task
def answer(kind: str) -> Any:
    """Return something that no database can hold, or raise something that is hard to record."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    match kind:
        case "object":
            return object()
        case "set":
            return {1, 2}
        case "nan":
            return float("nan")
        case "nul":
            return "a\x00b"
        case "surrogate":
            return "\ud800"
        case "int key":
            return {1: 2}
        case "deep":
            return deep
        case "cyclic":
            return cyclic
        case "huge":
            return "x" * 50_000_000
        case "raise unprintable":
            raise Unprintable
        case "raise huge":
            raise ValueError("x" * 50_000_000)
        case "raise nul":
            raise ValueError("a\x00b \ud800")
        case "raise group":
            raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])
        case "raise exit":
            sys.exit(3)
        case "raise interrupt":
            raise KeyboardInterrupt
        case "raise generator exit":
            raise GeneratorExit
        case "raise local":

            class Local(Exception):
                pass

            raise Local("not importable")
        case "raise recursion":
            return recurse()
    return kind


def recurse() -> Any:
    return recurse() + 1


@task
def large_float() -> list[float]:
    return [1e308, -0.0, 0.1, 12345678901234567890]


@task
def leave_transaction_open() -> None:
    transaction.set_autocommit(False)
    Effect.objects.create(key="uncommitted", pid=os.getpid())


@task
def break_connection() -> None:
    connection.ensure_connection()
    connection.connection.close()
    Effect.objects.create(key="never", pid=os.getpid())


@task(max_attempts=2, backoff=0, takes_context=True)
def break_connection_late(context: Any) -> None:
    if context.attempt == 2:
        connection.ensure_connection()
        connection.connection.close()
    raise ValueError("the task's own error")


@task
def change_arguments(old: int) -> int:
    return old


@task
def enqueue_child(count: int) -> list[str]:
    return [add.enqueue(number, 1).id for number in range(count)]


@task
def query(alias: str, sql: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@task(timeout=0.5)
def clean_up(mark: str, how: str = "sleep") -> None:
    """Outlive the timeout, and say what was known of it at the end."""
    try:
        if how == "query":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60)")
        time.sleep(60)
    except TaskTimeout as error:
        put_down(mark, str(error))
        raise
    finally:
        Effect.objects.create(key="cleaned up", pid=os.getpid())


@task(timeout=0.5)
def finish_in_time() -> str:
    try:
        time.sleep(60)
    except TaskTimeout:
        return "what there was"
    return "all of it"


@task(timeout=0.5)
async def sleep_async(mark: str) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        Path(mark).write_text("cleaned up")


@task(takes_context=True, timeout=100)
def tell_remaining(context: Any) -> list[bool]:
    return [99 < context.remaining() <= 100, context.deadline > time.monotonic()]


@task(max_attempts=3, backoff=0)
def fail_with_code(code: str, retry: bool | None = None, how: str = "raise") -> Any:
    failure = TaskFailure(code, "the reason", retry=retry)
    if how == "return":
        return failure
    raise failure


class OwnFailure(TaskFailure):
    def __init__(self) -> None:
        """Leaves the base class's out, as people do."""


@task
def fail_in_own_way() -> None:
    raise OwnFailure


@task
def terminate_own_process() -> int:
    """End a forked process by a signal. Answers by which it ended."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, b".")
        time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@task(takes_context=True)
def snooze_once(context: Any, mark: str, delay: float) -> int:
    path = Path(mark)
    if not path.exists():
        path.touch()
        raise Snooze(delay)
    return int(context.attempt)


# Executors


@task(executor="thread")
def wait_in_thread(path: str, mark: str) -> int:
    return wait_for_file.func(path, mark)


@task
async def wait_async(path: str, mark: str) -> int:
    """Run until somebody makes a file, without keeping others from running."""
    put_down(mark, str(os.getpid()))
    while not Path(path).exists():
        await asyncio.sleep(0.02)
    return os.getpid()


@task(executor="thread")
def add_in_thread(a: int, b: int) -> int:
    return a + b


@task(executor="thread")
def leave_in_thread(key: str) -> int:
    Effect.objects.create(key=key, pid=os.getpid())
    return threading.get_ident()


@task
async def leave_async(key: str) -> int:
    await Effect.objects.acreate(key=key, pid=os.getpid())
    return os.getpid()


@task(executor="tests.tasksapp.executors.Shouting")
def whisper(word: str) -> str:
    return word


@task(executor="thread", timeout=0.5)
def outlive_in_thread(how: str, mark: str) -> None:
    """Outlive the timeout in a thread."""
    try:
        match how:
            case "loop":
                while True:
                    pass
            case "sleep":
                time.sleep(20)
            case "stubborn":
                while True:
                    with suppress(BaseException):
                        while True:
                            pass
            case "lock":  # C code that lets nobody else run
                re.match("(a+)+$", "a" * 33 + "b")
    finally:
        Path(mark).write_text("cleaned up")


@task(timeout=0.5)
async def outlive_async(how: str, mark: str) -> None:
    """Outlive the timeout on the event loop."""
    Path(mark).touch()
    while True:
        try:
            if how == "block":
                time.sleep(60)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if how != "stubborn":
                Path(mark).write_text("cleaned up")
                raise


@task(takes_context=True, executor="thread")
def sleep_in_thread(context: Any, mark: str, how: str = "sleep") -> str:
    """Wait until somebody wants the end, and tell how that was noticed."""
    Path(mark).touch()
    if how == "sleep":
        context.sleep(60)
    while not context.cancel_requested:
        time.sleep(0.01)
    return "stopped early"


@task(takes_context=True, timeout=0.3, executor="thread")
def sleep_past_deadline(context: Any) -> None:
    context.sleep(60)


@task
def be_cancelled(mark: str, how: str = "sleep") -> str:
    """Wait to be interrupted, and say what by."""
    try:
        put_down(mark, str(os.getpid()))
        time.sleep(60)
    except TaskCancelled as error:
        Path(mark).write_text(f"{type(error).__name__}: {error}")
        if how == "stubborn":
            time.sleep(60)
        if how == "answer":
            return "done anyway"
        raise
    return "slept"


@task
async def be_cancelled_async(mark: str) -> None:
    Path(mark).touch()
    try:
        await asyncio.sleep(60)
    finally:
        Path(mark).write_text("cleaned up")


@task(executor="process")
async def be_cancelled_alone(mark: str) -> None:
    await be_cancelled_async.func(mark)


@task(takes_context=True, max_attempts=3)
def cancel_self(context: Any, reason: str) -> None:
    context.cancel(reason)


# What tasks leave behind


@task
def daemonise(mark: str) -> int:
    """Leave a process of another session behind, and return."""
    command = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", command, mark], start_new_session=True)
    while not Path(mark).exists() or not Path(mark).read_text():
        time.sleep(0.01)
    return process.pid


@task
def hold_memory(megabytes: int) -> int:
    keep.append(b"x" * megabytes * 1_000_000)
    return os.getpid()


keep: list[bytes] = []


@task
def allocate(megabytes: int) -> int:
    """Ask for more memory than the process may have."""
    resource.setrlimit(resource.RLIMIT_AS, (600_000_000, resource.RLIM_INFINITY))
    return len(bytearray(megabytes * 1_000_000))


HELD: list[Any] = []


@task(executor="process", memory="64M", backoff=0)
def fill(how: str) -> Any:
    """Use up the memory that there is, in large pieces or small ones, and keep it."""
    large, text = how.startswith("large"), "x" * 900_000
    try:
        while True:
            HELD.append(bytearray(1 << 20) if large else [object() for _ in range(100)])
    except MemoryError as error:
        if "swallow" in how:
            return text
        if "translate" in how:
            raise ValueError("no room") from error
        raise


@task(executor="process", memory=64 << 20)
async def fill_async() -> None:
    """The same in a coroutine, which has a process to itself."""
    while True:
        HELD.append(bytearray(1 << 20))


@task(executor="process", atomic=True, memory="64M")
def fill_atomic() -> None:
    """The same in a transaction."""
    while True:
        HELD.append(bytearray(1 << 20))


@task
def use_memory(megabytes: int = 0) -> list[Any]:
    """Use some memory. Answers the process, and whether it has a limit meanwhile and is given that much."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    try:
        bytearray(megabytes << 20)
    except MemoryError:
        return [os.getpid(), limit != resource.RLIM_INFINITY, False]
    return [os.getpid(), limit != resource.RLIM_INFINITY, True]


@task
def write_and_die(path: str, text: str) -> None:
    """Write what the kernel would, and die by the signal that it would send."""
    Path(path).write_text(text)
    os.kill(os.getpid(), signal.SIGKILL)


@task(on_lost="fail", max_attempts=5)
def run_at_most_once(mark: str, how: str = "crash") -> None:
    with Path(mark).open("a") as file:
        file.write("ran\n")
    if how == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@task
def end_badly(how: str) -> Any:
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "stack":
            sys.setrecursionlimit(10**9)

            def dive(value: Any) -> Any:
                return [dive, *map(dive, [value])]

            dive(0)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
    return how


# In one transaction


@task(atomic=True)
def leave_atomically(key: str, how: str = "", mark: str = "") -> str:
    """Write, and enqueue what follows, in the transaction that ends the job."""
    Effect.objects.create(key=key, pid=os.getpid())
    leave.enqueue(f"{key} follows")
    match how:
        case "raise":
            raise ValueError("after the write")
        case "object":
            return object()  # type: ignore[return-value]
        case "caught":
            with suppress(DatabaseError):
                Effect.objects.create(pk=Effect.objects.get(key=key).pk, key="twice", pid=0)
        case "rollback":
            transaction.set_rollback(True)
        case "autocommit":
            transaction.set_autocommit(True)
        case "commit":
            transaction.commit()
        case "hook":
            transaction.on_commit(lambda: Path(mark).write_text("committed"))
        case "bad hook":
            transaction.on_commit(lambda: 1 / 0)
        case "durable":
            with transaction.atomic(durable=True):
                pass
        case "savepoint":
            with suppress(ValueError), transaction.atomic():
                Effect.objects.create(key=f"{key} undone", pid=os.getpid())
                raise ValueError
        case "wait":
            put_down(mark, str(os.getpid()))
            time.sleep(60)
        case "lock":
            put_down(mark, str(os.getpid()))
            time.sleep(2)
    return key


@task(atomic=True)
def write_elsewhere(alias: str, key: str) -> None:
    """Write on another database than the one that holds the jobs, and fail."""
    Effect.objects.using(alias).create(key=key, pid=os.getpid())
    raise ValueError("after the write")


@task(atomic=True, takes_context=True)
def count_up(context: Any, key: str) -> int:
    """Read, wait for company, and write what was read plus one."""
    effect = Effect.objects.get(key=key)
    time.sleep(0.2)
    effect.pid += 1
    effect.save()
    return int(context.attempt)


@task(executor="tests.tasksapp.executors.NeverReady")
def never_begin() -> None:
    pass


@task(executor="tests.tasksapp.executors.Broken")
def begin_badly() -> None:
    pass


@task(timeout=0.5)
def match_forever() -> None:
    """C code that lets nobody else run, and hears no signal."""
    re.match("(a+)+$", "a" * 33 + "b")


@task(atomic=True)
def leave_nothing_atomically() -> str:
    return "done"


def soon(exception: BaseException, task_result: Any) -> float:
    """A rule that looks at what has happened so far."""
    return 0.0 if len(task_result.errors) < 5 else 1.0


@task(max_attempts=4, backoff=soon)
async def fail_by_rule() -> None:
    raise ValueError("again")


@task(takes_context=True)
def check_often(context: Any, mark: str) -> None:
    """Spend all the time in sleeps that are none."""
    Path(mark).touch()
    while True:
        context.sleep(0)


@task(timeout=0.5)
async def hang_in_threads() -> None:
    """Leave a call behind that hangs, and another that waits for it."""
    await asyncio.gather(sync_to_async(time.sleep)(4), sync_to_async(time.sleep)(0))


@task(executor="thread", timeout=0.3)
def hide_timeout() -> str:
    with suppress(TaskTimeout):
        while True:
            pass
    return f"{os.getpid()}"


@task(executor="thread")
def tell_process() -> str:
    return f"{os.getpid()}"


@task(max_attempts=5, backoff=0, takes_context=True)
def fail_then_wait(context: Any, mark: str, go: str) -> None:
    """Raise at first; then say that it runs, and run until somebody makes a file."""
    if context.attempt == 1:
        raise ConnectionError("the first time")
    Path(mark).touch()
    while not Path(go).exists():
        time.sleep(0.01)


@task
def length(text: str) -> int:
    return len(text)


@task(executor="tests.tasksapp.executors.Moody")
def run_in_a_mood() -> str:
    return "in the mood"


@task(executor="tests.tasksapp.executors.Tardy")
def leave_late(key: str) -> None:
    Effect.objects.create(key=key, pid=os.getpid())


@task(executor="tests.tasksapp.executors.TardyThreads")
def leave_late_in_thread(key: str) -> None:
    Effect.objects.create(key=key, pid=os.getpid())


@task(executor="tests.tasksapp.executors.TardyLoop")
async def leave_late_async(key: str) -> None:
    await Effect.objects.acreate(key=key, pid=os.getpid())


@task(on_lost="fail", takes_context=True)
def begun_fence(context: Any) -> int | None:
    """Return the begin mark of this attempt, as the row has it by now."""
    return Job.objects.get(id=context.job_id).begun_fence


@task(on_lost="fail", takes_context=True, executor="thread")
def begun_fence_in_thread(context: Any) -> int | None:
    return Job.objects.get(id=context.job_id).begun_fence


@task(on_lost="fail", takes_context=True)
async def begun_fence_on_loop(context: Any) -> int | None:
    return (await Job.objects.aget(id=context.job_id)).begun_fence


@task
def kill_worker(mark: str) -> None:
    """End the supervisor, and with it all other processes of the worker, this one included."""
    with Path(mark).open("a") as file:
        file.write("ran\n")
    supervisor = psutil.Process().parent().parent()  # type: ignore[union-attr]
    assert supervisor is not None
    supervisor.kill()
    time.sleep(60)


@task
def add_later(a: int, b: int, seconds: float) -> int:
    time.sleep(seconds)
    return a + b


@task
def wait_for_another(seconds: float) -> int:
    return add_later.enqueue(1, 2, seconds).get(timeout=30)


@task(executor="thread")
def wait_for_another_in_thread(seconds: float) -> int:
    return add_later.enqueue(1, 2, seconds).get(timeout=30)


@task
async def await_another(seconds: float) -> int:
    result = await add_later.aenqueue(1, 2, seconds)
    return await result.aget(timeout=30)
