"""Makes the dependencies of tasks, and closes them."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
from contextlib import (
    AsyncExitStack,
    ExitStack,
    _AsyncGeneratorContextManager,
    _GeneratorContextManager,
    asynccontextmanager,
    contextmanager,
)
from inspect import iscoroutine
from typing import Any

from asgiref.sync import iscoroutinefunction

from ..forks import OneProcess
from ..loggers import robust_logger
from .declaration import Depends, Recipe, dependencies_of, needs_loop, placed

logger = robust_logger("django_tasks_q.execution")

#: Seconds that a thread waits for another thread's factory before exceptions can be raised in it again.
POLL_INTERVAL = 0.1

Call = tuple[list[Any], dict[str, Any]]
Values = dict[Depends, Any]
Stack = ExitStack | AsyncExitStack


class Resolver:
    """Fills the dependencies of tasks in one child. Threads may share it.

    ``loop`` is the event loop that lasts as long as the child, if it has one. On any other loop what
    asynchronous code makes lasts as long as the attempt, whatever its scope.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        #: Of scope "worker".
        self.values: Values = {}
        self._stacks: list[tuple[Depends, Stack]] = []
        self._lock = threading.RLock()
        self._turns: defaultdict[Depends, asyncio.Lock] = defaultdict(asyncio.Lock)

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use an event loop that lasts as long as the child."""
        self.loop = loop

    # Around an attempt

    @contextmanager
    def task_scope(
        self,
        func: Callable[..., Any],
        takes_context: bool,
        context: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Iterator[Call]:
        """Within the block there is all that the function depends on: gives the complete arguments.

        ``args`` begin with the context if the function takes one. What the block raises is raised in the
        dependencies as they are closed, and goes on even if one of them catches it. What a dependency
        raises itself goes on too.
        """
        with ExitStack() as stack:
            values: Values = {}
            wanted = _wanted(func, takes_context, kwargs)
            ready = {name: self._value(depends, context, values, stack) for name, depends in wanted.items()}
            yield placed(func, args, kwargs, ready)

    @asynccontextmanager
    async def atask_scope(
        self,
        func: Callable[..., Any],
        takes_context: bool,
        context: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> AsyncIterator[Call]:
        """See task_scope(). Plain factories are called on the loop."""
        async with AsyncExitStack() as stack:
            values: Values = {}
            wanted = _wanted(func, takes_context, kwargs)
            ready = {
                name: await self._avalue(depends, context, values, stack) for name, depends in wanted.items()
            }
            yield placed(func, args, kwargs, ready)

    # Values, for attempts and for other dependencies

    def _value(self, depends: Depends, context: Any, values: Values, stack: ExitStack) -> Any:
        if depends in values:
            return values[depends]
        if depends.scope == "worker":
            value = self._kept(depends)
        else:
            recipe = Recipe.of(depends.factory)
            inner = {
                name: self._value(other, context, values, stack)
                for name, other in recipe.dependencies.items()
            }
            value = _opened(recipe, context, inner, stack)
        values[depends] = value
        return value

    async def _avalue(self, depends: Depends, context: Any, values: Values, stack: AsyncExitStack) -> Any:
        if depends in values:
            return values[depends]
        if depends.scope == "worker" and not needs_loop(depends):
            value = self._kept(depends)
        elif depends.scope == "worker" and self.loop is asyncio.get_running_loop():
            value = await self._akept(depends)
        else:
            recipe = Recipe.of(depends.factory)
            inner = {
                name: await self._avalue(other, context, values, stack)
                for name, other in recipe.dependencies.items()
            }
            value = await _aopened(recipe, context, inner, stack)
        values[depends] = value
        return value

    # Values that are kept

    def _kept(self, depends: Depends) -> Any:
        if depends in self.values:
            return self.values[depends]
        # In pieces: nothing can be raised in a thread that waits.
        while not self._lock.acquire(timeout=POLL_INTERVAL):
            pass
        try:
            if depends not in self.values:
                recipe = Recipe.of(depends.factory)
                inner = {name: self._kept(other) for name, other in recipe.dependencies.items()}
                with ExitStack() as stack:
                    value = _opened(recipe, None, inner, stack)
                    self._keep(depends, value, stack.pop_all())
            return self.values[depends]
        finally:
            self._lock.release()

    async def _akept(self, depends: Depends) -> Any:
        if not needs_loop(depends):
            return self._kept(depends)
        async with self._turns[depends]:
            if depends not in self.values:
                recipe = Recipe.of(depends.factory)
                inner = {name: await self._akept(other) for name, other in recipe.dependencies.items()}
                async with AsyncExitStack() as stack:
                    value = await _aopened(recipe, None, inner, stack)
                    self._keep(depends, value, stack.pop_all())
            return self.values[depends]

    def _keep(self, depends: Depends, value: Any, stack: Stack) -> None:
        self._stacks.append((depends, stack))
        self.values[depends] = value

    # The end of the child

    def close(self) -> None:
        """Close what was kept, the last first. Never raises. A child whose loop lasts calls aclose()."""
        self.values.clear()
        while self._stacks:
            depends, stack = self._stacks.pop()
            try:
                if isinstance(stack, AsyncExitStack):
                    raise RuntimeError("Its event loop has ended.")
                stack.close()
            except BaseException:
                _log(depends)

    async def aclose(self) -> None:
        """See close()."""
        self.values.clear()
        while self._stacks:
            depends, stack = self._stacks.pop()
            try:
                if isinstance(stack, AsyncExitStack):
                    await stack.aclose()
                else:
                    stack.close()
            except BaseException:
                _log(depends)


def called(
    func: Callable[..., Any], takes_context: bool, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Call a function with all that it depends on, made for this call alone."""
    context = args[0] if takes_context and args else kwargs.get("context") if takes_context else None
    if iscoroutinefunction(func):
        return _acalled(func, takes_context, context, args, kwargs)
    resolver = Resolver()
    try:
        with resolver.task_scope(func, takes_context, context, args, kwargs) as (complete, named):
            return func(*complete, **named)
    finally:
        resolver.close()


async def _acalled(func: Callable[..., Any], takes_context: bool, context: Any, *call: Any) -> Any:
    resolver = Resolver(asyncio.get_running_loop())
    try:
        async with resolver.atask_scope(func, takes_context, context, *call) as (complete, named):
            return await func(*complete, **named)
    finally:
        await resolver.aclose()


def _wanted(func: Callable[..., Any], takes_context: bool, given: Container[str]) -> dict[str, Depends]:
    dependencies = dependencies_of(func, takes_context)
    return {name: depends for name, depends in dependencies.items() if name not in given}


def _log(depends: Depends) -> None:
    logger.exception("A dependency could not be closed: %r.", depends.factory)


# Only what contextlib has made of a generator is opened. Files and connections can be used in ``with``
# as well, and mean different things by it.


def _opened(recipe: Recipe, context: Any, inner: Mapping[str, Any], stack: Stack) -> Any:
    with OneProcess():
        made = recipe.call(context, inner)
        return _entered(made, stack)


async def _aopened(recipe: Recipe, context: Any, inner: Mapping[str, Any], stack: AsyncExitStack) -> Any:
    with OneProcess():
        made = recipe.call(context, inner)
        if iscoroutine(made):
            made = await made
        if not isinstance(made, _AsyncGeneratorContextManager):
            return _entered(made, stack)
        value = await made.__aenter__()

    async def leave(*error: Any) -> None:
        with OneProcess():
            await made.__aexit__(*error)

    stack.push_async_exit(leave)
    return value


def _entered(made: Any, stack: Stack) -> Any:
    if iscoroutine(made) or isinstance(made, _AsyncGeneratorContextManager):
        if iscoroutine(made):
            made.close()
        raise TypeError(
            f"A dependency turned out to be asynchronous: {made!r:.100}. Declare its factory with async "
            "def, or return a plain value from it."
        )
    if not isinstance(made, _GeneratorContextManager):
        return made
    value = made.__enter__()

    def leave(*error: Any) -> None:
        # Its return value is ignored: a failure does not become a success by being caught.
        with OneProcess():
            made.__exit__(*error)

    stack.push(leave)
    return value
