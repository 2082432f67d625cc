"""A task's function with all that goes around it, put together once for all of its jobs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from ..conf import Options
from ..current import running
from ..definition.task import Task
from ..dependencies.resolver import Resolver
from ..executors import Executor
from ..forks import OneProcess, leave_if_copy
from ..payload.signature import Parameters
from .generators import adrive, drive
from .middleware import Middleware


class Call(Protocol):
    """What is known here of an attempt: the task, the context that it may take, and the arguments."""

    @property
    def task(self) -> Task[..., Any]: ...
    @property
    def context(self) -> Any: ...
    @property
    def args(self) -> list[Any]: ...
    @property
    def kwargs(self) -> dict[str, Any]: ...


class Body:
    """What an attempt calls: the function within middleware and dependencies, and a generator to its end."""

    def __init__(
        self, task: Task[..., Any], settings: Options, executor: Executor, resolver: Resolver
    ) -> None:
        self.parameters = Parameters.of(task.func, task.takes_context)
        self.is_coroutine = self.parameters.is_coroutine
        self._executor = executor
        self._resolver = resolver
        self._function = self._driven(task) if self.parameters.is_generator else task.func
        self._depends = self.parameters.has_dependencies
        specs = (*settings.middleware, *task.middleware)
        self._middleware = Middleware.of(specs, self.is_coroutine) if specs else None
        #: Whether nothing goes around the function.
        self.is_bare = not (specs or self._depends or self.parameters.is_generator)

    def call(self, attempt: Call) -> Any:
        """Return what the task returns, or an awaitable of it for a coroutine function."""
        if self._middleware is not None:
            pid = os.getpid()

            def call() -> Any:
                leave_if_copy(pid)  # that a middleware made
                return self._call(attempt)

            return self._middleware.call(attempt.context, call)
        return self._call(attempt)

    def _call(self, attempt: Call) -> Any:
        if self.is_coroutine:
            return self._acall_with(attempt) if self._depends else self._acalled(attempt.args, attempt.kwargs)
        return self._call_with(attempt) if self._depends else self._called(attempt.args, attempt.kwargs)

    def _call_with(self, attempt: Call) -> Any:
        with self._resolver.task_scope(*self._scope_arguments(attempt)) as (args, kwargs):
            return self._called(args, kwargs)

    async def _acall_with(self, attempt: Call) -> Any:
        async with self._resolver.atask_scope(*self._scope_arguments(attempt)) as (args, kwargs):
            return await self._acalled(args, kwargs)

    # Within what goes around it, which a copy must not run a second time.

    def _called(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        with OneProcess():
            return self._executor.call(self._function, args, kwargs)

    async def _acalled(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        with OneProcess():
            return await self._executor.call(self._function, args, kwargs)

    def _scope_arguments(self, attempt: Call) -> tuple[Any, ...]:
        task = attempt.task
        return task.func, task.takes_context, attempt.context, attempt.args, attempt.kwargs

    def _driven(self, task: Task[..., Any]) -> Callable[..., Any]:
        """Return a function that runs a generator function to its end and returns its value."""
        func, on_yield = task.func, task.on_yield

        @wraps(func)
        def driven(*args: Any, **kwargs: Any) -> Any:
            report, keep = _followed()
            return drive(func(*args, **kwargs), on_yield, report, keep=keep)

        @wraps(func)
        async def adriven(*args: Any, **kwargs: Any) -> Any:
            report, keep = _followed()
            return await adrive(func(*args, **kwargs), on_yield, report, keep=keep)

        return adriven if self.is_coroutine else driven


def _followed() -> tuple[Callable[[Any, int], None], bool]:
    """Return what reports the values of the running attempt, and whether its result is kept."""
    attempt: Any = running.get()
    return attempt.reporter.yielded, attempt.keeps_result
