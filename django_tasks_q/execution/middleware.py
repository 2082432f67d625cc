"""Middleware around tasks, built as Django builds the middleware around views."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.core.exceptions import MiddlewareNotUsed
from django.utils.module_loading import import_string

from ..exceptions import Snooze, TaskFailure, TaskTimeout
from ..forks import OneProcess
from ..lifecycle.retry import class_path

logger = logging.getLogger("django_tasks_q.execution")

#: A factory of middleware, or the dotted path of one.
Spec = str | Callable[..., Any]
#: Takes the context and returns the task's value, or an awaitable of it.
GetValue = Callable[[Any], Any]
#: ``process_exception``: takes the context and what was raised.
Hook = Callable[[Any, BaseException], Any]


def load(spec: Spec) -> Callable[[GetValue], Any]:
    """Return the factory behind a dotted path. Raises ImportError, or TypeError for what is no middleware."""
    found = import_string(spec) if isinstance(spec, str) else spec
    if not callable(found):
        raise TypeError(f"Middleware {_name(spec)} must be a function or class, not {found!r:.100}.")
    if not any(_capabilities(found)):
        raise TypeError(f"Middleware {_name(spec)} must have one of sync_capable and async_capable be True.")
    factory: Callable[[GetValue], Any] = found
    return factory


def check_middleware(specs: Any) -> Iterator[str]:
    """Yield one sentence for each middleware that cannot be used."""
    if not isinstance(specs, list | tuple):
        yield f"middleware must be a list of functions, classes and dotted paths, not {specs!r:.100}."
        return
    for spec in specs:
        try:
            load(spec)
        except TypeError as error:
            yield str(error)
        except Exception as error:  # whatever the module raises that is imported
            yield f"Middleware {_name(spec)} cannot be imported: {error}"


def chain(specs: Sequence[Spec], get_value: GetValue, is_coroutine: bool) -> GetValue:
    """``get_value`` with all middleware around it, the first one outermost, as a function of the context.

    For ``is_coroutine`` both are coroutine functions. Middleware that is not made for that is adapted: a
    plain one around a coroutine runs in a thread, while the coroutine stays on its loop. Raises what
    load() raises, and TypeError for a factory that returns no function.
    """
    hooks: list[Hook] = []
    innermost = _ahooked(get_value, hooks) if is_coroutine else _hooked(get_value, hooks)
    handler, is_async = innermost, is_coroutine
    for spec in reversed(specs):
        factory = load(spec)
        can_sync, can_async = _capabilities(factory)
        becomes_async = can_async and (is_async or not can_sync)
        adapted = _adapted(handler, is_async, becomes_async)
        try:
            middleware = factory(adapted)
        except MiddlewareNotUsed as error:
            logger.debug("MiddlewareNotUsed(%s): %s", _name(spec), error)
            continue
        if not callable(middleware):
            raise TypeError(f"Middleware {_name(spec)} must return a function, not {middleware!r:.100}.")
        if _is_coroutine_function(middleware) and not becomes_async:
            raise TypeError(
                f"Middleware {_name(spec)} returns a coroutine function: mark it with async_only_middleware "
                "or sync_and_async_middleware."
            )
        if (hook := getattr(middleware, "process_exception", None)) is not None:
            hooks.append(_adapted(hook, _is_coroutine_function(hook), is_coroutine))
        is_async = becomes_async
        handler = _acalled(middleware) if is_async else _called(middleware)
    return _adapted(handler, is_async, is_coroutine)


class Middleware:
    """The middleware around tasks of one kind. Its instances live as long as the child."""

    _built: dict[tuple[tuple[Spec, ...], bool], Middleware] = {}
    _lock = threading.Lock()

    def __init__(self, specs: Sequence[Spec], is_coroutine: bool) -> None:
        self._outermost = chain(specs, _acall_of if is_coroutine else _call_of, is_coroutine)

    @classmethod
    def of(cls, specs: Sequence[Spec], is_coroutine: bool) -> Middleware:
        """Return the Middleware of these factories, built once. Raises what chain() raises."""
        key = (tuple(specs), is_coroutine)
        if key not in cls._built:
            with cls._lock:
                if key not in cls._built:
                    cls._built[key] = cls(*key)
        return cls._built[key]

    def call(self, context: Any, call: Callable[[], Any]) -> Any:
        """Return what the middleware returns of ``call``: an awaitable for coroutines.

        ``call`` is kept in the context, where the innermost finds it whatever thread it runs in.
        """
        vars(context)["_call"] = call
        return self._outermost(context)


def _call_of(context: Any) -> Any:
    try:
        call = vars(context)["_call"]
    except (TypeError, KeyError):
        raise TypeError(
            f"get_value() takes the context that the middleware was given, not {context!r:.100}."
        ) from None
    return call()


async def _acall_of(context: Any) -> Any:
    return await _call_of(context)


# Hooks


def _hooked(get_value: GetValue, hooks: list[Hook]) -> GetValue:
    def hooked(context: Any) -> Any:
        try:
            return _raised_if_failure(get_value(context))
        except Snooze:
            raise
        except (Exception, TaskTimeout) as error:
            for hook in hooks:
                if (value := hook(context, error)) is not None:
                    return value
            raise

    return hooked


def _ahooked(get_value: GetValue, hooks: list[Hook]) -> GetValue:
    async def hooked(context: Any) -> Any:
        try:
            return _raised_if_failure(await get_value(context))
        except Snooze:
            raise
        except (Exception, TaskTimeout) as error:
            for hook in hooks:
                if (value := await hook(context, error)) is not None:
                    return value
            raise

    return hooked


def _raised_if_failure(value: Any) -> Any:
    if isinstance(value, TaskFailure):  # to return one is to raise it
        raise value
    return value


# Plain and coroutine functions


def _capabilities(factory: Callable[..., Any]) -> tuple[bool, bool]:
    return bool(getattr(factory, "sync_capable", True)), bool(getattr(factory, "async_capable", False))


def _adapted(function: Callable[..., Any], is_async: bool, wanted_async: bool) -> Callable[..., Any]:
    if wanted_async and not is_async:
        return sync_to_async(function, thread_sensitive=True)
    if is_async and not wanted_async:
        return async_to_sync(function)
    return function


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def _called(middleware: GetValue) -> GetValue:
    def get_value(context: Any) -> Any:
        with OneProcess():
            return middleware(context)

    return get_value


def _acalled(middleware: GetValue) -> GetValue:
    """Return a coroutine function in any case, since hybrid middleware inspects what it is around."""

    async def get_value(context: Any) -> Any:
        with OneProcess():
            return await middleware(context)

    return get_value


def _name(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    return class_path(spec) if hasattr(spec, "__qualname__") else f"{spec!r:.100}"
