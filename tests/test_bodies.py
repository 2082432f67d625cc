"""What is around a task's function: dependencies, generators and middleware, each by itself."""

import asyncio
import functools
import gc
import inspect
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from types import ModuleType, SimpleNamespace
from typing import Annotated

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import MiddlewareNotUsed
from django.utils.decorators import async_only_middleware, sync_and_async_middleware, sync_only_middleware

from django_tasks_q import Snooze, TaskCancelled, TaskFailure, TaskTimeout
from django_tasks_q.definition.on_yield import check_on_yield, is_generator
from django_tasks_q.dependencies.declaration import (
    Depends,
    check_dependencies,
    dependencies_of,
    needs_loop,
    placed,
)
from django_tasks_q.dependencies.resolver import Resolver
from django_tasks_q.execution.control import Control
from django_tasks_q.execution.generators import adrive, drive
from django_tasks_q.execution.middleware import Middleware, chain, check_middleware, load
from django_tasks_q.execution.sync_threads import SyncThreads


def one_sentence(error):
    text = str(error.value)
    return text.endswith(".") and "\n" not in text


def module(source):
    made = ModuleType("made")
    exec(compile(source, "made.py", "exec"), made.__dict__)
    return made


# Depends


def make():
    return "made"


def test_depends_is_a_value():
    assert Depends(make) == Depends(make, scope="task") != Depends(make, scope="worker")
    assert Depends(make).is_dependency
    assert len({Depends(make), Depends(make)}) == 1
    with pytest.raises(AttributeError):
        Depends(make).scope = "worker"


def test_what_depends_refuses():
    for factory in ("make", None, 7):
        with pytest.raises(TypeError, match="takes a function") as error:
            Depends(factory)
        assert one_sentence(error)
    for scope in ("request", None, []):
        with pytest.raises(ValueError, match="'task' or 'worker'") as error:
            Depends(make, scope=scope)
        assert one_sentence(error)
    with pytest.raises(TypeError):
        Depends(make, "worker")

    class Unhashable:
        __hash__ = None

        def __call__(self): ...

    with pytest.raises(TypeError, match="hashable") as error:
        Depends(Unhashable())
    assert one_sentence(error)


def test_dependencies_are_found_in_annotations():
    def func(a: int, b: Annotated[str, "note"], c: Annotated[str, "note", Depends(make)], *, d=1): ...

    assert dependencies_of(func, False) == {"c": Depends(make)}
    assert dependencies_of(func, False) is dependencies_of(func, False)


def test_the_context_is_no_dependency():
    def func(context: Annotated[str, Depends(make)], a): ...

    assert dependencies_of(func, True) == {}
    assert dependencies_of(func, False) == {"context": Depends(make)}


DEFERRED = """
from __future__ import annotations
from typing import TYPE_CHECKING, Annotated, Optional
from django_tasks_q.dependencies.declaration import Depends
from django_tasks_q.dependencies import declaration as depends
if TYPE_CHECKING:
    from shop import Client, types, Limit

def make(): ...
def func(
    first: Client,
    second: Annotated[Client, Depends(make)],
    third: Annotated[Optional[types.Client[int]] | None, Limit(3), depends.Depends(make, scope="worker")],
    fourth: Annotated[Client, Limit],
    fifth: this is no annotation,
): ...
"""


def test_names_that_only_type_checkers_know_hide_no_dependency():
    made = module(DEFERRED.replace("this is no annotation", "1 / 0"))
    expected = {"second": Depends(made.make), "third": Depends(made.make, scope="worker")}
    assert dependencies_of(made.func, False) == expected


def test_annotations_are_read_where_a_wrapped_function_is_defined():
    made = module(DEFERRED.replace("this is no annotation", "int"))

    @functools.wraps(made.func)
    def wrapper(*args, **kwargs): ...

    assert set(dependencies_of(wrapper, False)) == {"second", "third"}


@pytest.mark.parametrize("missing", ["make", "Depends"])
def test_a_dependency_that_is_not_defined_is_not_overlooked(missing):
    made = module(
        "from __future__ import annotations\n"
        "from typing import Annotated\n"
        "from django_tasks_q.dependencies.declaration import Depends\n"
        "def make(): ...\n"
        f"del {missing}\n"
        "def func(client: Annotated[int, Depends(make)]): ...\n"
    )
    with pytest.raises(TypeError, match=f"{missing} is not defined") as error:
        dependencies_of(made.func, False)
    assert one_sentence(error)


def positional_only(a: Annotated[str, Depends(make)], /): ...
def with_default(a: Annotated[str, Depends(make)] = "x"): ...
def several(*a: Annotated[str, Depends(make)]): ...
def twice(a: Annotated[str, Depends(make), Depends(make, scope="worker")]): ...


async def make_async(): ...
async def make_async_generator():
    yield 1


make_async_manager = asynccontextmanager(make_async_generator)


def on_async(a: Annotated[str, Depends(make_async)]): ...
def on_async_generator(a: Annotated[str, Depends(make_async_generator)]): ...
def on_async_manager(a: Annotated[str, Depends(make_async_manager)]): ...
def on_async_partial(a: Annotated[str, Depends(functools.partial(make_async))]): ...
def on_async_below(a: Annotated[str, Depends(on_async)]): ...


def needy(context, wanted, other=1, *args, **kwargs): ...
def on_needy(a: Annotated[str, Depends(needy)]): ...


def late_context(a=1, *, context): ...
def on_late_context(a: Annotated[str, Depends(late_context)]): ...


def on_task(a: Annotated[str, Depends(make)]): ...
def on_worker_on_task(a: Annotated[str, Depends(on_task, scope="worker")]): ...


def with_context(context): ...
def on_worker_with_context(a: Annotated[str, Depends(with_context, scope="worker")]): ...
def on_bad(a: Annotated[str, Depends(with_default)]): ...


def circle(a): ...
def circle_back(a: Annotated[str, Depends(circle)]): ...


circle.__annotations__["a"] = Annotated[str, Depends(circle_back)]


@pytest.mark.parametrize(
    ("func", "words"),
    [
        (positional_only, "by name"),
        (with_default, "default"),
        (several, "by name"),
        (twice, "more than one"),
        (on_async, "asynchronous"),
        (on_async_generator, "asynchronous"),
        (on_async_manager, "asynchronous"),
        (on_async_partial, "asynchronous"),
        (on_async_below, "asynchronous"),
        (on_needy, "'wanted' of needy"),
        (on_late_context, "'context' of late_context"),
        (on_worker_on_task, "cannot depend on make"),
        (on_worker_with_context, "cannot take a context"),
        (on_bad, "with_default"),
        (circle_back, "circle: circle → circle_back → circle"),
    ],
)
def test_what_is_refused_at_decoration(func, words):
    with pytest.raises(TypeError, match=words) as error:
        check_dependencies(func, False, is_coroutine=False)
    assert one_sentence(error)


@pytest.mark.parametrize("func", [on_async, on_async_generator, on_async_manager, on_async_below])
def test_coroutine_functions_may_depend_on_asynchronous_code(func):
    check_dependencies(func, False, is_coroutine=True)


class Client:
    def __init__(self, name: Annotated[str, Depends(make)]):
        self.name = name

    def __enter__(self):
        raise AssertionError("nobody has asked for it")

    __exit__ = __enter__


class Maker:
    def __call__(self, context):
        yield f"by {context}"


def test_what_is_let_through_at_decoration():
    def func(
        a: Annotated[Client, Depends(Client)],
        b: Annotated[str, Depends(Maker())],
        c: Annotated[dict, Depends(dict)],
        d: Annotated[str, Depends(lambda a=1, *b, **c: a)],
        e: Annotated[str, Depends(contextmanager(Maker()))],
        f: Annotated[str, Depends(functools.partial(needy, wanted=1), scope="task")],
    ): ...

    check_dependencies(func, False, is_coroutine=False)


def test_needs_loop_looks_below():
    assert needs_loop(Depends(on_async))
    assert not needs_loop(Depends(Client))


def test_values_are_placed_where_the_function_has_them():
    def func(context, a: Annotated[str, Depends(make)], b, *rest, c: Annotated[str, Depends(make)]):
        return context, a, b, rest, c

    args, kwargs = placed(func, ["ctx", 1, 2], {}, {"a": "A", "c": "C"})
    assert func(*args, **kwargs) == ("ctx", "A", 1, (2,), "C")
    args, kwargs = placed(func, ["ctx"], {"b": 1}, {"a": "A", "c": "C"})
    assert func(*args, **kwargs) == ("ctx", "A", 1, (), "C")


# Resolver: the same in a thread and on a loop


def run_sync(resolver, func, *args, context="ctx", **kwargs):
    takes_context = next(iter(inspect.signature(func).parameters), "") == "context"
    args = [context, *args] if takes_context else args
    with resolver.task_scope(func, takes_context, context, args, kwargs) as (args, kwargs):
        return func(*args, **kwargs)


def run_async(resolver, func, *args, context="ctx", **kwargs):
    async def main():
        takes_context = next(iter(inspect.signature(func).parameters), "") == "context"
        given = [context, *args] if takes_context else args
        async with resolver.atask_scope(func, takes_context, context, given, kwargs) as (a, k):
            answer = func(*a, **k)
            return await answer if inspect.isawaitable(answer) else answer

    return asyncio.run(main())


@pytest.fixture(params=[run_sync, run_async])
def run(request):
    return request.param


@pytest.fixture
def log():
    return []


def generator_of(log, name, scope="task", **depends):
    """A dependency that tells the log how it fares."""

    def factory():
        log.append(f"open {name}")
        try:
            yield name
        except BaseException as error:
            log.append(f"{name} saw {type(error).__name__}")
            raise
        finally:
            log.append(f"close {name}")

    return Depends(factory, scope=scope)


def test_dependencies_are_opened_before_and_closed_after_in_reverse(run, log):
    one, two = generator_of(log, "one"), generator_of(log, "two")

    def func(number, a: Annotated[str, one], b: Annotated[str, two]):
        log.append(f"{number} {a} {b}")
        return "value"

    assert run(Resolver(), func, 7) == "value"
    assert log == ["open one", "open two", "7 one two", "close two", "close one"]


@pytest.mark.parametrize("kind", [ValueError, TaskTimeout, TaskCancelled, KeyboardInterrupt, StopIteration])
def test_the_exception_is_thrown_into_them(run, log, kind):
    one, two = generator_of(log, "one"), generator_of(log, "two")

    def func(a: Annotated[str, one], b: Annotated[str, two]):
        raise kind("why")

    if kind is StopIteration and run is run_async:
        kind = RuntimeError  # no coroutine can raise the other one
    with pytest.raises(kind):
        run(Resolver(), func)
    assert [line for line in log if "close" in line] == ["close two", "close one"]
    assert len([line for line in log if "saw" in line]) == 2


def test_a_dependency_that_catches_the_exception_makes_no_success_of_it(run):
    def factory():
        with suppress(ValueError):
            yield

    def func(a: Annotated[None, Depends(factory)]):
        raise ValueError("lost?")

    with pytest.raises(ValueError, match=r"lost\?"):
        run(Resolver(), func)


def test_each_factory_is_opened_once_in_an_attempt(run, log):
    shared = generator_of(log, "shared")

    def left(s: Annotated[str, shared]):
        return "left"

    def func(a: Annotated[str, Depends(left)], b: Annotated[str, shared], c: Annotated[str, shared]):
        return a, b, c

    resolver = Resolver()
    assert run(resolver, func) == ("left", "shared", "shared")
    assert log == ["open shared", "close shared"]
    run(resolver, func)
    assert log.count("open shared") == 2


def test_the_scopes_of_one_factory_are_two_dependencies(run):
    def func(a: Annotated[object, Depends(object)], b: Annotated[object, Depends(object, scope="worker")]):
        return a, b

    resolver = Resolver()
    (a, b), (c, d) = run(resolver, func), run(resolver, func)
    assert b is d
    assert len({id(a), id(b), id(c)}) == 3


def test_factories_take_the_context_and_dependencies(run):
    def factory(context, name: Annotated[str, Depends(make)], more=1):
        return f"{name} for {context} {more}"

    def func(context, a: Annotated[str, Depends(factory)]):
        return context, a

    assert run(Resolver(), func, context="job 1") == ("job 1", "made for job 1 1")


def test_what_is_given_is_used(run, log):
    def func(a: Annotated[str, generator_of(log, "one")]):
        return a

    assert run(Resolver(), func, a="given") == "given"
    assert log == []


def test_only_generators_are_opened_and_other_context_managers_passed(run):
    closed = []

    @contextmanager
    def managed():
        yield "managed"
        closed.append(1)

    wrapped = functools.wraps(managed)(lambda: managed())

    def func(
        a: Annotated[Client, Depends(Client)],
        b: Annotated[str, Depends(managed)],
        c: Annotated[str, Depends(Maker())],
        d: Annotated[str, Depends(functools.partial(Maker(), "partial"))],
        e: Annotated[str, Depends(wrapped)],
    ):
        return type(a), a.name, b, c, d, e

    expected = (Client, "made", "managed", "by ctx", "by partial", "managed")
    assert run(Resolver(), func) == expected
    assert closed == [1, 1]


def test_a_dependency_that_fails_to_open_fails_the_attempt_and_no_other(run, log):
    outcomes = iter([OSError("no"), "fine"])

    def fragile():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome

    def func(
        a: Annotated[str, generator_of(log, "one")], b: Annotated[str, Depends(fragile, scope="worker")]
    ):
        return b

    resolver = Resolver()
    with pytest.raises(OSError, match="no"):
        run(resolver, func)
    assert log == ["open one", "one saw OSError", "close one"]
    assert run(resolver, func) == "fine"


def test_a_dependency_that_fails_to_close_fails_the_attempt(run, log):
    def fragile():
        yield
        raise OSError("no")

    def func(a: Annotated[str, generator_of(log, "one")], b: Annotated[None, Depends(fragile)]): ...

    with pytest.raises(OSError, match="no"):
        run(Resolver(), func)
    assert log[-1] == "close one"


@pytest.mark.parametrize("count", [0, 2])
def test_a_generator_must_yield_once(run, count):
    def factory():
        yield from range(count)

    def func(a: Annotated[int, Depends(factory)]): ...

    with pytest.raises(RuntimeError, match="generator didn't"):
        run(Resolver(), func)


def test_worker_scope_lasts_until_close_in_reverse(run, log):
    first = generator_of(log, "first", scope="worker")

    def second(a: Annotated[str, first]):
        log.append("open second")
        yield f"second on {a}"
        log.append("close second")

    def func(b: Annotated[str, Depends(second, scope="worker")], a: Annotated[str, first]):
        return a, b

    resolver = Resolver()
    assert run(resolver, func) == run(resolver, func) == ("first", "second on first")
    assert log == ["open first", "open second"]
    resolver.close()
    assert log[2:] == ["close second", "close first"]
    resolver.close()
    assert len(log) == 4


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_a_close_that_raises_is_logged(run, log, caplog, kind):
    def fragile():
        yield
        raise kind("no")

    def func(
        a: Annotated[str, generator_of(log, "first", scope="worker")],
        b: Annotated[None, Depends(fragile, scope="worker")],
    ): ...

    resolver = Resolver()
    run(resolver, func)
    resolver.close()
    assert log == ["open first", "close first"]
    assert "fragile" in caplog.text
    assert kind.__name__ in caplog.text


def test_threads_open_a_worker_dependency_once():
    opened, barrier = [], threading.Barrier(4)

    def slow():
        opened.append(1)
        time.sleep(0.3)
        return object()

    def func(a: Annotated[object, Depends(slow, scope="worker")]):
        return a

    resolver = Resolver()

    def attempt():
        barrier.wait()
        return run_sync(resolver, func)

    with ThreadPoolExecutor(4) as pool:
        values = [future.result() for future in [pool.submit(attempt) for _ in range(4)]]
    assert len({id(value) for value in values}) == 1
    assert opened == [1]


def test_what_turns_out_to_be_asynchronous_is_refused_in_a_plain_task():
    def func(a: Annotated[str, Depends(lambda: make_async())]): ...

    with pytest.raises(TypeError, match="asynchronous"):
        run_sync(Resolver(), func)
    gc.collect()  # a coroutine that nobody awaited would warn


# Asynchronous dependencies


def async_of(log, name, scope="task"):
    async def factory():
        await asyncio.sleep(0)
        log.append(f"open {name}")
        try:
            yield name
        except BaseException as error:
            log.append(f"{name} saw {type(error).__name__}")
            raise
        finally:
            await asyncio.sleep(0)
            log.append(f"close {name}")

    return factory, Depends(factory, scope=scope)


def test_asynchronous_factories_of_all_kinds(log):
    function, depends = async_of(log, "one")

    async def coroutine(a: Annotated[str, depends]):
        return f"coroutine on {a}"

    async def func(
        a: Annotated[str, depends],
        b: Annotated[str, Depends(asynccontextmanager(function))],
        c: Annotated[str, Depends(coroutine)],
        d: Annotated[str, generator_of(log, "plain")],
    ):
        return a, b, c, d

    assert run_async(Resolver(), func) == ("one", "one", "coroutine on one", "plain")
    closed = [line for line in log if "close" in line]
    assert closed == ["close plain", "close one", "close one"]


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
def test_the_exception_is_thrown_into_asynchronous_ones(log, kind):
    async def func(a: Annotated[str, async_of(log, "one")[1]]):
        raise kind

    with pytest.raises(kind):
        run_async(Resolver(), func)
    assert log == ["open one", f"one saw {kind.__name__}", "close one"]


def test_an_asynchronous_dependency_makes_no_success_of_a_failure():
    async def factory():
        with suppress(ValueError):
            yield

    async def func(a: Annotated[None, Depends(factory)]):
        raise ValueError("lost?")

    with pytest.raises(ValueError, match=r"lost\?"):
        run_async(Resolver(), func)


async def call(resolver, func):
    async with resolver.atask_scope(func, False, None, [], {}) as (args, kwargs):
        return await func(*args, **kwargs)


def test_worker_scope_on_the_loop_of_the_child(log, caplog):
    async def below(a: Annotated[str, generator_of(log, "plain", scope="worker")]):
        await asyncio.sleep(0.05)
        log.append("open below")
        yield object()
        log.append("close below")
        raise OSError("no")

    async def func(
        b: Annotated[object, Depends(below, scope="worker")],
        last: Annotated[str, async_of(log, "last", scope="worker")[1]],
    ):
        return b

    async def main():
        resolver = Resolver(asyncio.get_running_loop())
        values = await asyncio.gather(*(call(resolver, func) for _ in range(3)))
        values.append(await call(resolver, func))
        assert len(set(values)) == 1
        assert log == ["open plain", "open below", "open last"]
        await resolver.aclose()

    asyncio.run(main())
    assert log[3:] == ["close last", "close below", "close plain"]
    assert "OSError" in caplog.text


def test_an_attempt_that_ends_while_it_opens_leaves_the_turn_to_the_next():
    tries = []

    async def slow():
        tries.append(1)
        await asyncio.sleep(30 if len(tries) == 1 else 0)
        return "opened"

    async def func(a: Annotated[str, Depends(slow, scope="worker")]):
        return a

    async def main():
        resolver = Resolver(asyncio.get_running_loop())
        first = asyncio.create_task(call(resolver, func))
        second = asyncio.create_task(call(resolver, func))
        await asyncio.sleep(0.05)
        first.cancel()
        assert await second == "opened"
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert tries == [1, 1]


def test_on_a_loop_that_ends_asynchronous_ones_last_as_long_as_the_attempt(log):
    async def func(
        a: Annotated[str, async_of(log, "one", scope="worker")[1]],
        b: Annotated[str, generator_of(log, "plain", scope="worker")],
    ):
        return a, b

    resolver = Resolver()
    assert run_async(resolver, func) == run_async(resolver, func) == ("one", "plain")
    assert log == ["open one", "open plain", "close one", "open one", "close one"]
    resolver.close()
    assert log[-1] == "close plain"


def test_what_a_loop_has_left_open_is_logged(log, caplog):
    async def func(a: Annotated[str, async_of(log, "one", scope="worker")[1]]): ...

    async def main():
        resolver = Resolver(asyncio.get_running_loop())
        await call(resolver, func)
        resolver.close()

    asyncio.run(main())
    assert "Its event loop has ended" in caplog.text


# Generators


def numbers(count=3, answers=None):
    for number in range(count):
        answer = yield number
        if answers is not None:
            answers.append(answer)


async def anumbers(count=3, answers=None):
    for number in range(count):
        answer = yield number
        if answers is not None:
            answers.append(answer)


@pytest.fixture(params=["sync", "async"])
def driven(request):
    """Drives one of two generator functions that do the same."""

    def driven(sync, asynchronous, on_yield=None, report=lambda value, count: None, **options):
        if request.param == "sync":
            return drive(sync(), on_yield, report, **options)

        async def main():
            return await adrive(asynchronous(), on_yield, report, **options)

        return asyncio.run(main())

    return driven


def test_the_values_are_the_result(driven):
    assert driven(numbers, anumbers) == [0, 1, 2]
    assert driven(lambda: numbers(0), lambda: anumbers(0)) == []


def test_values_are_not_kept_where_nobody_wants_them(driven):
    assert driven(numbers, anumbers, keep=False) is None


@pytest.mark.parametrize("keep", [True, False])
def test_values_that_are_not_kept_are_let_go(driven, keep):
    class Big: ...

    alive = weakref.WeakSet()

    def sync():
        for _ in range(9):
            yield Big()

    async def asynchronous():
        for _ in range(9):
            yield Big()

    def report(value, count):
        alive.add(value)
        assert len(alive) <= 2 or keep

    driven(sync, asynchronous, report=report, keep=keep)


def test_a_returned_value_is_the_result():
    def returns(value):
        yield 1
        return value

    assert drive(returns("done"), None, lambda *_: None) == "done"
    assert drive(returns(0), None, lambda *_: None) == 0
    assert drive(returns("done"), None, lambda *_: None, keep=False) == "done"
    assert drive(returns(None), None, lambda *_: None) == [1]


def test_each_value_is_reported_and_then_handled_and_the_answer_sent_back(driven):
    answers, told = [], []

    def handler(value):
        told.append(("handled", value))
        return value * 10

    driven(
        lambda: numbers(2, answers),
        lambda: anumbers(2, answers),
        handler,
        lambda value, count: told.append((value, count)),
    )
    assert answers == [0, 10]
    assert told == [(0, 1), ("handled", 0), (1, 2), ("handled", 1)]


def test_without_a_handler_nothing_is_sent(driven):
    answers = []
    driven(lambda: numbers(2, answers), lambda: anumbers(2, answers))
    assert answers == [None, None]


def test_coroutine_handlers_of_async_generators_are_awaited():
    answers, told = [], []

    async def handler(value):
        await asyncio.sleep(0)
        return value + 1

    async def report(value, count):
        await asyncio.sleep(0)
        told.append(count)

    asyncio.run(adrive(anumbers(2, answers), handler, report))
    assert answers == [1, 2]
    assert told == [1, 2]


def guarded(log, then):
    """Two generator functions that see what is raised in them."""

    def sync():
        try:
            yield 1
        except BaseException as error:
            log.append(error)
            if then == "yield":
                yield 2
            if then == "raise":
                raise
            if then == "other":
                raise LookupError from error
        finally:
            log.append("closed")

    async def asynchronous():
        try:
            yield 1
        except BaseException as error:
            log.append(error)
            if then == "yield":
                yield 2
            if then == "raise":
                raise
            if then == "other":
                raise LookupError from error
        finally:
            log.append("closed")

    return sync, asynchronous


@pytest.mark.parametrize("then", ["raise", "return", "yield"])
@pytest.mark.parametrize("by", ["handler", "report"])
@pytest.mark.parametrize("kind", [ValueError, TaskTimeout, KeyboardInterrupt])
def test_what_a_handler_raises_is_raised_inside_and_goes_on(driven, log, then, by, kind):
    error = kind("bad")

    def fails(*args):
        raise error

    with pytest.raises(kind) as raised:
        driven(*guarded(log, then), **{"on_yield" if by == "handler" else "report": fails})
    assert raised.value is error
    assert log == [error, "closed"]


def test_an_async_generator_is_closed_before_its_error_goes_on(log):
    def fails(value):
        raise ValueError

    async def main():
        with pytest.raises(ValueError):
            await adrive(guarded(log, "yield")[1](), fails, lambda *_: None)
        assert log[-1] == "closed"  # and not only when its loop ends

    asyncio.run(main())


def test_a_generator_may_answer_with_another_exception(driven, log):
    def fails(value):
        raise ValueError

    with pytest.raises(LookupError):
        driven(*guarded(log, "other"), fails)
    assert log[-1] == "closed"


def test_what_the_generator_raises_goes_on_once(driven, log):
    def sync():
        yield 1
        raise ValueError("mine")

    async def asynchronous():
        yield 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as raised:
        driven(sync, asynchronous)
    assert raised.value.__context__ is None
    assert [entry.name for entry in raised.traceback].count("drive") <= 1


def test_a_cancellation_is_raised_inside_an_async_generator(log):
    async def sleeps():
        try:
            yield 1
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    control = Control(timeout=0.05)
    with pytest.raises(TaskTimeout):
        asyncio.run(control.awaited(lambda: adrive(sleeps(), None, lambda *_: None)))
    assert log == ["cancelled"]


async def coroutine_handler(value): ...


class CoroutineHandler:
    async def __call__(self, value): ...


@pytest.mark.parametrize(
    ("func", "on_yield", "words"),
    [
        (numbers, "print", "function of the yielded value"),
        (make, print, "generator function"),
        (make_async, print, "generator function"),
        (numbers, coroutine_handler, "plain function"),
        (numbers, CoroutineHandler(), "plain function"),
    ],
)
def test_handlers_that_are_refused(func, on_yield, words):
    with pytest.raises(TypeError, match=words) as error:
        check_on_yield(func, on_yield)
    assert one_sentence(error)


def test_handlers_that_are_let_through():
    check_on_yield(numbers, print)
    for handler in (print, coroutine_handler, CoroutineHandler()):
        check_on_yield(anumbers, handler)
    assert [is_generator(func) for func in (numbers, anumbers, make, make_async)] == [
        True,
        True,
        False,
        False,
    ]


# Middleware


@pytest.fixture
def context():
    return SimpleNamespace(lines=[])


def plain(name):
    @sync_only_middleware
    def factory(get_value):
        def run(context):
            context.lines.append(f"> {name}")
            try:
                return f"{get_value(context)} {name}"
            finally:
                context.lines.append(f"< {name}")
                context.threads = [*getattr(context, "threads", []), threading.get_ident()]

        return run

    return factory


def coroutine(name):
    @async_only_middleware
    def factory(get_value):
        async def run(context):
            context.lines.append(f"> {name}")
            try:
                return f"{await get_value(context)} {name}"
            finally:
                context.lines.append(f"< {name}")

        return run

    return factory


def hybrid(name):
    @sync_and_async_middleware
    def factory(get_value):
        return (coroutine if iscoroutinefunction(get_value) else plain)(f"{name}")(get_value)

    return factory


def around(specs, get_value, context, is_coroutine):
    """The value of a task in its middleware."""
    if not is_coroutine:
        return chain(specs, get_value, False)(context)

    async def task(context):
        await asyncio.sleep(0)
        return get_value(context)

    async def main():
        return await chain(specs, task, True)(context)

    return asyncio.run(main())


both = pytest.mark.parametrize("is_coroutine", [False, True])


@both
@pytest.mark.parametrize("kinds", [[plain] * 3, [coroutine] * 3, [hybrid] * 3, [plain, coroutine, hybrid]])
def test_the_first_middleware_is_the_outermost(context, kinds, is_coroutine):
    specs = [kind(name) for kind, name in zip(kinds, "abc", strict=True)]
    assert around(specs, lambda context: "value", context, is_coroutine) == "value c b a"
    assert context.lines == ["> a", "> b", "> c", "< c", "< b", "< a"]


@both
@pytest.mark.parametrize("kind", [plain, coroutine, hybrid])
@pytest.mark.parametrize("error", [ValueError, TaskTimeout, TaskCancelled, Snooze])
def test_what_follows_get_value_runs_whatever_is_raised(context, kind, error, is_coroutine):
    def fails(context):
        raise error(1)

    with pytest.raises(error):
        around([kind("a")], fails, context, is_coroutine)
    assert context.lines == ["> a", "< a"]


@both
def test_without_middleware_the_value_is_the_tasks(context, is_coroutine):
    assert around([], lambda context: 7, context, is_coroutine) == 7


@both
def test_hybrid_middleware_is_of_the_kind_of_the_task(context, is_coroutine):
    seen = []

    @sync_and_async_middleware
    def factory(get_value):
        seen.append(iscoroutinefunction(get_value))
        return hybrid("x")(get_value)

    class Instance:
        async_capable = True

        def __init__(self, get_value):
            self.get_value = get_value

        def __call__(self, context):
            return self.get_value(context)

    around([factory, Instance, factory], lambda context: 1, context, is_coroutine)
    assert seen == [is_coroutine] * 2


class Counted:
    built = 0

    def __init__(self, get_value):
        type(self).built += 1
        self.get_value = get_value
        self.calls = 0

    def __call__(self, context):
        self.calls += 1
        return self.get_value(context), self.calls


class AsyncClass:
    sync_capable, async_capable = False, True

    def __init__(self, get_value):
        self.get_value = get_value

    async def __call__(self, context):
        return f"{await self.get_value(context)} awaited"


@both
def test_classes_and_dotted_paths(context, is_coroutine):
    path = f"{__name__}.Counted"
    assert around([path], lambda context: "value", context, is_coroutine) == ("value", 1)
    assert around([AsyncClass], lambda context: "value", context, is_coroutine) == "value awaited"
    assert load(path) is Counted


def test_a_plain_middleware_of_a_coroutine_is_in_a_thread_and_the_coroutine_on_its_loop(context):
    async def task(context):
        context.loop = asyncio.get_running_loop()
        context.orm = await sync_to_async(threading.get_ident)()
        return "value"

    async def main():
        async with SyncThreads().lend():
            assert await chain([plain("a")], task, True)(context) == "value a"
        assert context.loop is asyncio.get_running_loop()

    asyncio.run(main())
    assert context.threads != [threading.get_ident()]
    assert context.orm == context.threads[0]  # and with it the connection to the database


@pytest.mark.parametrize("kind", [plain, coroutine])
def test_timeouts_and_cancellations_of_coroutines_pass_through(context, kind):
    async def task(context):
        try:
            await asyncio.sleep(30)
        finally:
            context.lines.append("task")

    async def main(control):
        async with SyncThreads().lend():
            await control.awaited(lambda: chain([kind("a")], task, True)(context))

    with pytest.raises(TaskTimeout):
        asyncio.run(main(Control(timeout=0.1)))
    assert context.lines == ["> a", "task", "< a"]

    async def cancelled(control):
        asyncio.get_running_loop().call_later(0.1, control.cancel)
        await main(control)

    context.lines.clear()
    with pytest.raises(TaskCancelled):
        asyncio.run(cancelled(Control()))
    assert context.lines == ["> a", "task", "< a"]


@both
def test_middleware_that_is_not_used_is_left_out(context, is_coroutine):
    def unused(get_value):
        raise MiddlewareNotUsed("not here")

    assert around([plain("a"), unused, plain("b")], lambda context: 1, context, is_coroutine) == "1 b a"


def test_middleware_may_answer_without_the_task_or_ask_it_twice(context):
    calls = []
    short = chain([lambda get_value: lambda context: "short"], calls.append, False)
    assert short(context) == "short"
    assert not calls

    def twice(get_value):
        return lambda context: [get_value(context), get_value(context)]

    assert Middleware.of([twice], False).call(context, lambda: calls.append(1) or len(calls)) == [1, 2]


# Hooks


def hooked(name, answer=None, raises=None, is_async=False):
    class Hooked:
        def __init__(self, get_value):
            self.get_value = get_value

        def __call__(self, context):
            return self.get_value(context)

        if is_async:

            async def process_exception(self, context, exception):
                return self.process(context, exception)
        else:

            def process_exception(self, context, exception):
                return self.process(context, exception)

        def process(self, context, exception):
            context.lines.append((name, exception))
            if raises:
                raise raises
            return answer

    return Hooked


both_hooks = pytest.mark.parametrize("is_async", [False, True])


@both
@both_hooks
def test_the_hook_nearest_to_the_task_is_asked_first_and_one_answer_is_enough(
    context, is_coroutine, is_async
):
    error = ValueError("first")

    def fails(context):
        raise error

    specs = [
        plain("outermost"),
        hooked("a", "never", is_async=is_async),
        hooked("b", "replacement", is_async=is_async),
        hooked("c", is_async=is_async),
    ]
    assert around(specs, fails, context, is_coroutine) == "replacement outermost"
    assert context.lines == ["> outermost", ("c", error), ("b", error), "< outermost"]


@both
def test_a_hook_may_answer_what_is_false(context, is_coroutine):
    assert around([hooked("a", 0)], lambda context: 1 / 0, context, is_coroutine) == 0


@both
def test_without_an_answer_the_exception_goes_on(context, is_coroutine):
    with pytest.raises(ZeroDivisionError) as raised:
        around([hooked("a"), hooked("b")], lambda context: 1 / 0, context, is_coroutine)
    assert raised.value.__context__ is None
    assert [name for name, _ in context.lines] == ["b", "a"]


@both
@both_hooks
def test_a_hook_that_raises_shows_both_exceptions(context, is_coroutine, is_async):
    specs = [hooked("a", "never"), hooked("b", raises=LookupError("second"), is_async=is_async)]
    with pytest.raises(LookupError, match="second") as raised:
        around(specs, lambda context: 1 / 0, context, is_coroutine)
    assert isinstance(raised.value.__context__, ZeroDivisionError)
    assert not raised.value.__suppress_context__
    assert [name for name, _ in context.lines] == ["b"]


@both
@pytest.mark.parametrize("error", [Snooze(1), TaskCancelled(), asyncio.CancelledError()])
def test_hooks_are_not_asked_about_what_is_no_failure(context, is_coroutine, error):
    def fails(context):
        raise error

    with pytest.raises(type(error)):
        around([hooked("a", "never")], fails, context, is_coroutine)
    assert context.lines == []


@both
@pytest.mark.parametrize("error", [TaskTimeout("late"), TaskFailure("CODE")])
def test_hooks_are_asked_about_failures_of_the_package(context, is_coroutine, error):
    def fails(context):
        raise error

    assert around([hooked("a", "instead")], fails, context, is_coroutine) == "instead"


@both
def test_a_returned_failure_is_a_raised_one(context, is_coroutine):
    failure = TaskFailure("CODE")
    with pytest.raises(TaskFailure) as raised:
        around([hooked("a")], lambda context: failure, context, is_coroutine)
    assert raised.value is failure
    assert context.lines == [("a", failure)]


# Middleware that lives


def test_middleware_is_built_once_and_finds_the_call_in_the_context():
    class Once(Counted):
        built = 0

    first, second = SimpleNamespace(), SimpleNamespace()
    assert Middleware.of([Once], False).call(first, lambda: "one") == ("one", 1)
    assert Middleware.of((Once,), False).call(second, lambda: "two") == ("two", 2)
    assert Once.built == 1
    assert Middleware.of([Once], True) is not Middleware.of([Once], False)

    async def main():
        async def task():
            return "three"

        return await Middleware.of([Once], True).call(first, task)

    assert asyncio.run(main()) == ("three", 1)


def test_threads_build_middleware_once():
    class Slow(Counted):
        built = 0

        def __init__(self, get_value):
            time.sleep(0.1)
            super().__init__(get_value)

    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda _: Middleware.of([Slow], False), range(4)))
    assert len(set(built)) == Slow.built == 1


def test_coroutines_in_one_middleware_do_not_mix_their_calls():
    async def one(number):
        async def task():
            await asyncio.sleep(0.02)
            return number

        return await Middleware.of([hybrid("x"), coroutine("y")], True).call(SimpleNamespace(lines=[]), task)

    async def main():
        return await asyncio.gather(*(one(number) for number in range(5)))

    assert asyncio.run(main()) == [f"{number} y x" for number in range(5)]


def test_another_context_is_refused(context):
    def swaps(get_value):
        return lambda context: get_value(None)

    with pytest.raises(TypeError, match="takes the context"):
        Middleware.of([swaps], False).call(context, lambda: 1)


# Middleware that cannot be used


def incapable(get_value): ...


incapable.sync_capable = False


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("nowhere", ImportError),
        ("tests.nowhere.middleware", ImportError),
        (f"{__name__}.nothing", ImportError),
        (f"{__name__}.both_hooks.nothing", ImportError),
        (f"{__name__}.DEFERRED", TypeError),
        (7, TypeError),
        (incapable, TypeError),
    ],
)
def test_what_load_refuses(spec, kind):
    with pytest.raises(kind):
        load(spec)
    (problem,) = check_middleware([Counted, spec])
    assert "\n" not in problem


def test_specs_must_be_a_list():
    (problem,) = check_middleware("shop.middleware.timing")
    assert "must be a list" in problem
    assert list(check_middleware([])) == []


def unmarked(get_value):
    async def run(context): ...

    return run


class UnmarkedClass:
    def __init__(self, get_value):
        markcoroutinefunction(self)

    def __call__(self, context): ...


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda get_value: None, "must return a function"),
        (unmarked, "async_only_middleware"),
        (UnmarkedClass, "async_only_middleware"),
    ],
)
def test_factories_that_answer_nothing_of_use(context, factory, words):
    for is_coroutine in (False, True):
        with pytest.raises(TypeError, match=words):
            around([factory], lambda context: 1, context, is_coroutine)


@pytest.mark.parametrize("kind", [plain, coroutine])
def test_a_coroutine_in_a_process_of_its_own_has_its_middleware_in_the_main_thread(context, kind):
    async def task():
        await asyncio.sleep(30 if context.lines[0] == "late" else 0)
        return "value"

    def attempt(timeout):
        onion = Middleware.of([kind("a")], True)
        return Control(timeout).run(lambda: acall(onion), is_coroutine=True)

    async def acall(onion):
        return await onion.call(context, task)

    assert attempt(5) == "value a"
    if kind is plain:
        assert context.threads == [threading.get_ident()]
    context.lines[:] = ["late"]
    with pytest.raises(TaskTimeout):
        attempt(0.1)
    assert context.lines == ["late", "> a", "< a"]
