"""Enqueueing by a task's name, for code that does not import the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from asgiref.sync import sync_to_async

from ..validation import one_line
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
