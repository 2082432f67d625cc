"""Tasks that use what the pages of other systems show."""

import logging
import os
import time as clock
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.utils.decorators import async_only_middleware

from django_tasks_q import Depends, TaskCancelled, TaskFailure, TaskTimeout, current_context, task
from testproject.shop.models import Product
from tests.tasksapp.models import Effect


def note(key: str) -> None:
    """Leave a trace in the database."""
    Effect.objects.create(key=key, pid=os.getpid())


# Names and calls


@task(name="seed.renamed", aliases=["seed.old", "seed.older"])
def renamed(word: str) -> str:
    return f"renamed {word}"


@task(name="seed.add")
def add(a: int, b: int = 0) -> int:
    return a + b


@task
def strict_by_keyword(*, x: int) -> int:
    return x


# Arguments


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Point:
    x: int
    on: date


@task
def tell_types(
    amount: Decimal,
    key: UUID,
    at: datetime,
    day: date,
    hour: time,
    span: timedelta,
    size: Size,
    point: Point,
    product: Product,
    many: list[Decimal],
    pair: tuple[int, date],
    some: set[UUID],
    table: dict[str, Point],
    maybe: Decimal | None = None,
    *,
    plain: dict[str, Any],
) -> list[str]:
    values = (amount, key, at, day, hour, span, size, point, product, many, pair, some, table, maybe, plain)
    return [repr(value) for value in values]


@task
async def tell_type_async(amount: Decimal) -> str:
    return repr(amount)


@task
def untyped(value):
    return repr(value)


# What is said of a task


@task(tags=["billing", "nightly"], metadata={"team": "money", "level": 1}, takes_context=True)
def described(context: Any) -> dict[str, Any]:
    """Say what is known of it.

    And no more than that.
    """
    return {"metadata": context.metadata, "description": context.task.description}


@task(description="Not the docstring.")
def described_otherwise() -> None:
    """Do nothing."""


@task
def routed() -> str:
    return "routed"


reports = task.defaults(queue_name="reports", tags=["report"], max_attempts=2)


@reports
def report_daily() -> str:
    return "daily"


@reports(queue_name="slow", tags=["weekly"])
def report_weekly() -> str:
    return "weekly"


# Failures


@task(max_retries=2, backoff=0)
def fail_with_retries() -> None:
    raise ValueError("again")


@task(
    error_codes={TimeoutError: "TIMEOUT", "builtins.ConnectionError": "CONNECTION", OSError: "SYSTEM"},
    default_error_code="SOMETHING",
    max_attempts=3,
    backoff=0,
    retry_on=["CONNECTION"],
)
def fail_coded(kind: str) -> None:
    raise {
        "time": TimeoutError,
        "refused": ConnectionRefusedError,
        "file": FileNotFoundError,
        "value": ValueError,
    }[kind](kind)


@task
def fail_plainly(kind: str) -> None:
    raise {"value": ValueError, "lookup": KeyError}[kind](kind)


@task
def fail_with_data(how: str) -> Any:
    failure = TaskFailure("MISSING_EMAIL", "no address", data={"field": "email", "tried": [1, 2]})
    if how == "return":
        return failure
    raise failure


# Results


@task(strict=True)
def promise_number(kind: str) -> int:
    return 1 if kind == "number" else "one"  # type: ignore[return-value]


@task(strict=True)
async def promise_list(kind: str) -> list[int] | None:
    return {"list": [1, 2], "none": None, "words": ["one"]}[kind]  # type: ignore[return-value]


@task(store_result=False)
def return_an_object() -> object:
    return object()


@task
def return_nothing() -> None:
    return None


class Complex:
    """Complex numbers as two real ones."""

    @staticmethod
    def encode(value: complex) -> list[float]:
        return [value.real, value.imag]

    @staticmethod
    def decode(value: list[float]) -> complex:
        return complex(*value)


@task(result_encoder=Complex)
def square_root(number: float) -> complex:
    return complex(0, (-number) ** 0.5)


@task(result_encoder=(str, int))
def number_as_text() -> int:
    return 12


@task(result_encoder="tests.seedapp.tasks.Complex")
async def unit() -> complex:
    return 1j


@task(result_ttl=timedelta(seconds=0.5))
def value_for_a_while() -> str:
    return "for a while"


@task(retention=0.5)
def row_for_a_while(how: str) -> str:
    if how == "fail":
        raise ValueError(how)
    return "for a while"


# The context


def whose() -> str:
    return str(current_context().job_id)


@task
def find_context() -> str:
    return whose()


@task
async def find_context_async() -> str:
    return whose()


@task(executor="thread")
def find_context_in_thread() -> str:
    return whose()


@task(takes_context=True, max_attempts=2, backoff=0, tags=["context"], metadata={"seen": 0})
def tell_context(context: Any) -> dict[str, Any]:
    if context.attempt == 1:
        context.metadata["seen"] += 1
        context.save_metadata()
        raise ConnectionError("once")
    context.refresh()
    return {
        "job_id": context.job_id,
        "worker_id": context.worker_id,
        "attempt": context.attempt,
        "last": context.is_last_attempt,
        "result": context.task_result.id,
        "backend": context.backend.alias,
        "grace": context.backend.options["GRACE"],
        "time zone": settings.TIME_ZONE,
        "task": [context.task.name, context.task.max_attempts, list(context.task.tags)],
        "logger": [isinstance(context.logger, logging.LoggerAdapter), str(context.logger.extra)],
        "job": [str(context.job.pk), context.job.status, context.job.attempts],
        "metadata": context.metadata,
    }


@task(takes_context=True, metadata={})
async def tell_context_async(context: Any) -> dict[str, Any]:
    context.metadata["left"] = "async"
    await context.asave_metadata()
    await context.arefresh()
    job = await context.ajob()
    await context.asleep(0)
    return {"job": str(job.pk), "metadata": context.metadata}


@task(takes_context=True, max_attempts=3)
async def cancel_self_async(context: Any, reason: str) -> None:
    context.cancel(reason)


@task(takes_context=True)
def spread(context: Any) -> list[str]:
    return [context.enqueue("seed.add", 1, b=2).id, add.enqueue(3, 4).id, whose_child.bind().enqueue().id]


@task(takes_context=True)
async def spread_async(context: Any) -> list[str]:
    sent = await context.aenqueue("seed.add", 5, b=6)
    return [sent.id, (await add.aenqueue(7, 8)).id]


@task
def whose_child() -> str | None:
    parent = current_context().job.parent_id
    return str(parent) if parent else None


# Middleware


def outer(get_value):
    """For all tasks: what it adds stands outside of all others."""

    def run(context):
        value = get_value(context)
        return f"outer({value})" if isinstance(value, str) else value

    return run


def inner(get_value):
    def run(context):
        return f"inner({get_value(context)})"

    return run


def traced(get_value):
    """Leave a trace of how the task has ended, and of the part behind it."""

    def run(context):
        try:
            value = get_value(context)
        except BaseException as error:
            kinds = (TaskTimeout, TaskCancelled, Exception)
            kind = next(kind for kind in kinds if isinstance(error, kind))
            note(f"{context.job_id} {kind.__name__}")
            raise
        else:
            note(f"{context.job_id} returned")
            return value
        finally:
            note(f"{context.job_id} after")

    return run


@async_only_middleware
def awaited(get_value):
    async def run(context):
        return f"awaited({await get_value(context)})"

    return run


class Rescue:
    """Answers exceptions of one kind with a value."""

    kind: type[Exception] = KeyError

    def __init__(self, get_value):
        self.get_value = get_value

    def __call__(self, context):
        return self.get_value(context)

    def process_exception(self, context, exception):
        if isinstance(exception, self.kind):
            return f"{type(self).__name__} of {context.attempt}"
        return None


class RescueAll(Rescue):
    kind = Exception


@task(middleware=[inner, "tests.seedapp.tasks.traced"], takes_context=True, timeout=0.5)
def in_middleware(context: Any, how: str) -> str:
    match how:
        case "raise":
            raise ValueError(how)
        case "sleep":
            clock.sleep(30)
        case "cancel":
            context.cancel("enough")
    return how


@task(middleware=[awaited, inner])
async def in_middleware_async() -> str:
    return "coroutine"


@task(middleware=[RescueAll, Rescue])
def rescued(kind: str) -> str:
    raise {"key": KeyError, "value": ValueError}[kind](kind)


# Generators


def answer(value: Any) -> Any:
    note(f"handled {value}")
    return f"answer to {value}"


async def answer_async(value: Any) -> Any:
    return f"late answer to {value}"


@task(on_yield=answer)
def step_by_step() -> Iterator[str]:
    first = yield "one"
    second = yield "two"
    return [first, second]


@task(on_yield=answer)
def only_yield(count: int) -> Iterator[int]:
    while count:
        count -= 1
        yield count


@task
def yield_unheard() -> Iterator[str]:
    heard = yield "hello"
    yield f"heard {heard}"


@task(on_yield=answer_async)
async def step_by_step_async() -> AsyncIterator[str]:
    first = yield "one"
    yield first


@task(on_yield=answer)
def fail_between() -> Iterator[int]:
    yield 1
    raise ValueError("between")


# Dependencies


def open_client() -> Iterator[dict[str, str]]:
    note("client opened")
    try:
        yield {"name": "client"}
    except ValueError as error:
        note(f"client saw {error}")
        raise
    finally:
        note("client closed")


@contextmanager
def open_shared() -> Iterator[int]:
    note("shared opened")
    yield os.getpid()
    note("shared closed")


def make_session(context: Any, client: Annotated[dict[str, str], Depends(open_client)]) -> str:
    return f"session of {client['name']} for {context.job_id}"


@asynccontextmanager
async def open_async() -> AsyncIterator[str]:
    yield "opened"


@task
def use_client(
    how: str,
    client: Annotated[dict[str, str], Depends(open_client)],
    session: Annotated[str, Depends(make_session)],
) -> list[str]:
    if how == "raise":
        raise ValueError("in the task")
    return [how, client["name"], session]


@task
def use_shared(shared: Annotated[int, Depends(open_shared, scope="worker")]) -> bool:
    return shared == os.getpid()


@task
async def use_async(word: str, opened: Annotated[str, Depends(open_async)]) -> str:
    return f"{word} {opened}"


# Progress and logs


@task(takes_context=True)
def count_to(context: Any, number: int, gate: str) -> int:
    """Go half of the way, wait to be seen, and go on."""
    done = 0
    for step in context.progress(range(number), message="steps"):
        done += 1
        if step == number // 2:
            while not Path(gate).exists():
                context.sleep(0.01)
    return done


@task(takes_context=True)
async def count_to_async(context: Any, number: int) -> int:
    async def steps() -> AsyncIterator[int]:
        for step in range(number):
            yield step

    return sum([step async for step in context.progress(steps(), total=number)])


@task(takes_context=True, atomic=True)
def tell_of_it(context: Any) -> None:
    context.set_progress(3, 4, "nearly there")


@task(takes_context=True)
def tell_nonsense(context: Any, value: Any) -> None:
    context.set_progress(value)


@task(takes_context=True, timeout=0.5)
def tell_without_end(context: Any, mark: str) -> None:
    """Tell more than a pipe holds, until the time is over."""
    reporter = context._attempt.reporter
    Path(mark).touch()
    while True:
        for number in range(1000):
            reporter.set(number, None, "x" * 255, "y" * 1_000_000)
            reporter.flush()


@task(takes_context=True, capture_logs=True)
def say_much(context: Any, lines: int = 0) -> None:
    context.logger.debug("too quiet")
    context.logger.info("in %s", "words", extra={"more": 1})
    logging.getLogger("elsewhere").warning("of another")
    logging.getLogger("elsewhere").info("dropped by its own level")
    try:
        raise ValueError("caught")
    except ValueError:
        context.logger.exception("with a traceback")
    for number in range(lines):
        context.logger.info("line %d", number)


@task(takes_context=True, executor="thread", capture_logs="ERROR", max_attempts=2, backoff=0)
def say_twice(context: Any) -> None:
    context.logger.info("not this")
    context.logger.error("attempt %d", context.attempt)
    if not context.is_last_attempt:
        raise ValueError("again")


@task(takes_context=True)
def say_nothing(context: Any) -> None:
    context.logger.error("not kept")


@task(takes_context=True)
def forget(context: Any) -> str:
    """Change what is stored by way of another writer, and look."""
    type(context.job).objects.filter(pk=context.job_id).update(metadata='{"from": "outside"}')
    before = dict(context.metadata)
    context.refresh()
    return f"{before} {context.metadata}"


@task(takes_context=True)
def spoil_metadata(context: Any) -> None:
    context.metadata["set"] = {1, 2}
    context.save_metadata()


@task(takes_context=True)
def tell_and_break(context: Any, alias: str) -> None:
    """Leave a transaction that nobody can use."""
    context.set_progress(1)
    connections[alias].needs_rollback = True
    context.set_progress(2)
    raise ValueError("broken")
