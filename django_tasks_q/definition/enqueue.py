"""Enqueueing by a task's name, for code that does not import the task, and calls of several tasks at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from asgiref.sync import sync_to_async

from ..validation import one_line
from .call import BoundTask
from .options import MAX_NAME, UsingOptions
from .registry import registry
from .result import TaskResult
from .task import Task


def enqueue(
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    allow_unregistered: bool = False,
    **options: Unpack[UsingOptions],
) -> TaskResult[..., Any]:
    """Enqueue a call of the task of that name, under the options of ``using()``.

    Raises TaskNotRegistered for a name that this process does not know, unless ``allow_unregistered``
    leaves it to the workers to know it; its arguments are not checked then. Otherwise raises what
    ``using()`` and ``task.enqueue()`` raise.
    """
    if allow_unregistered and name not in registry:
        one_line(name, "name", maximum=MAX_NAME)
        task: Task[..., Any] = Task.restored(name)
    else:
        task = registry.get(name)
    if options:
        task = task.using(**options)
    return task.enqueue(*args, **(kwargs or {}))


async def aenqueue(
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    allow_unregistered: bool = False,
    **options: Unpack[UsingOptions],
) -> TaskResult[..., Any]:
    """See enqueue()."""
    send = sync_to_async(enqueue, thread_sensitive=True)
    return await send(name, args, kwargs, allow_unregistered=allow_unregistered, **options)


def enqueue_many(calls: Iterable[BoundTask[..., Any]]) -> list[TaskResult[..., Any]]:
    """Store calls of any tasks at once: all of them or, when one is unusable, none.

    Each call is made by ``task.bind()``. The results have the order of the calls.

    Raises TypeError for anything else than such a call, ValueError for tasks whose jobs are in several
    databases, and what ``task.enqueue()`` raises.
    """
    calls = list(calls)
    for call in calls:
        if not isinstance(call, BoundTask):
            raise TypeError(f"enqueue_many() takes calls that are made by task.bind(), not {call!r:.100}.")
    backends: dict[str, Any] = {call.task.backend: call.task.get_backend() for call in calls}
    if not backends:
        return []
    places = {getattr(backend, "database", None) for backend in backends.values()}
    several = [backend for backend in backends.values() if hasattr(backend, "enqueue_calls")]
    if len(several) == len(backends) and len(places) == 1:
        return several[0].enqueue_calls(calls)  # type: ignore[no-any-return]
    if len(backends) > 1:
        raise ValueError(
            "enqueue_many() stores all calls or none, which takes one database. The backends "
            f"{', '.join(sorted(backends))} of these tasks have none in common: call it for each backend."
        )
    return [call.enqueue() for call in calls]


async def aenqueue_many(calls: Iterable[BoundTask[..., Any]]) -> list[TaskResult[..., Any]]:
    """See enqueue_many()."""
    return await sync_to_async(enqueue_many, thread_sensitive=True)(calls)
