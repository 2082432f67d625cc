"""Executors call the functions of tasks; projects extend them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal

from django.utils.module_loading import import_string

from .validation import one_line

Kind = Literal["process", "thread", "async"]


class Executor:
    """Calls the functions of tasks. One instance lives in each child, for all the jobs it runs.

    To run tasks in another way, extend one of the three below and name the class by its dotted
    path: ``@task(executor="shop.executors.Sandboxed")``. The worker starts separate children for such tasks.
    """

    #: The sort of child that it lives in.
    kind: ClassVar[Kind]

    def start(self) -> None:
        """Called once in a new child, before its first job. What it raises ends the child."""

    def stop(self) -> None:
        """Called once at the orderly end of a child, after its last job. What it raises is logged."""

    def call(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Return what the function returns, or raise what it raises.

        ``TaskTimeout``, ``TaskCancelled`` and ``WorkerStopping`` may be raised from within: let them through.
        """
        raise NotImplementedError


class ProcessExecutor(Executor):
    """One job at a time in a separate process, which can be killed without harm to others."""

    kind = "process"

    def call(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)


class ThreadExecutor(Executor):
    """Several jobs at a time in the threads of one process; ``call`` runs in all of them at once."""

    kind = "thread"

    def call(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)


class AsyncExecutor(Executor):
    """Many coroutines at a time on the event loop of one process; ``call`` returns an awaitable."""

    kind = "async"

    def call(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Awaitable[Any]:
        awaitable: Awaitable[Any] = function(*args, **kwargs)
        return awaitable


BUILT_IN: dict[str, type[Executor]] = {
    "process": ProcessExecutor,
    "thread": ThreadExecutor,
    "async": AsyncExecutor,
}


def executor_name(value: Any, name: str) -> str:
    """Return one of the three names, or what looks like a dotted path. Raises TypeError or ValueError."""
    text = one_line(value, name, maximum=255)
    is_path = "." in text and all(part.isidentifier() for part in text.split("."))
    if text not in BUILT_IN and not is_path:
        raise ValueError(f"{name} must be 'process', 'thread', 'async' or a dotted path, not {value!r:.100}.")
    return text


def executor_class(name: str) -> type[Executor]:
    """Return the class behind a name that a task or the settings gave.

    Raises ImportError for a path that leads nowhere, TypeError for a class that is no executor.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    found = import_string(name)
    if not (isinstance(found, type) and issubclass(found, Executor) and hasattr(found, "kind")):
        raise TypeError(f"{name} is not a subclass of ProcessExecutor, ThreadExecutor or AsyncExecutor.")
    return found
