"""``@task``: makes functions tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Literal, Unpack, overload

from .options import TaskOptions, checked, refuse_unknown
from .task import P, R, Task


class TaskDecorator:
    """Makes module-level functions tasks, under options that others may give defaults for."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = dict(defaults)

    @overload
    def __call__(
        self,
        function: Callable[P, R],
        /,
        *,
        takes_context: Literal[False] = False,
        **options: Unpack[TaskOptions],
    ) -> Task[P, R]: ...
    @overload
    def __call__(
        self, *, takes_context: Literal[True], **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[Concatenate[Any, P], R]], Task[P, R]]: ...
    @overload
    def __call__(
        self, *, takes_context: Literal[False] = False, **options: Unpack[TaskOptions]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def __call__(  # type: ignore[misc]  # the stubs of Unpack do not see that it takes them all
        self, function: Any = None, /, *, takes_context: bool = False, **options: Any
    ) -> Any:
        """Make a module-level function a task.

        ``takes_context`` passes a ``TaskContext`` as the first argument, named ``context``; the other
        options are those of TaskOptions. Raises TypeError or ValueError for a bad option, InvalidTask
        for what the backend refuses, DuplicateTask for a name that is taken.
        """
        if function is not None and not callable(function):
            raise TypeError(
                f"@task decorates a function and takes options by keyword only, not {function!r:.100}."
            )
        _refuse(options)
        options = _merged(self._defaults, options)

        def decorate(func: Callable[..., Any]) -> Task[..., Any]:
            return Task(func=func, takes_context=takes_context, **options)

        return decorate if function is None else decorate(function)

    def defaults(self, **options: Unpack[TaskOptions]) -> TaskDecorator:
        """Return a decorator of the same kind whose tasks have these options, unless they say otherwise.

        Tags and metadata add up. Raises TypeError or ValueError for a bad option.
        """
        given: dict[str, Any] = dict(options)
        _refuse(given)
        if own := {"name", "aliases", "description"}.intersection(given):
            raise TypeError(
                f"{min(own)!r} belongs to one task, and is no default for several: give it to @task."
            )
        checked(given, None)
        return TaskDecorator(_merged(self._defaults, given))


def _refuse(options: Mapping[str, Any]) -> None:
    if "run_after" in options:
        raise TypeError("run_after belongs to one send: use .using(run_after=…) instead of @task.")
    refuse_unknown(options, TaskOptions.__annotations__)


def _merged(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options over their defaults; of two spellings of one option only one is kept."""
    merged = {**defaults, **options}
    for one, other in (("max_attempts", "max_retries"), ("max_retries", "max_attempts")):
        if one in options and other not in options:
            merged.pop(other, None)
    if defaults.get("tags") and options.get("tags"):
        merged["tags"] = [*defaults["tags"], *options["tags"]]
    if defaults.get("metadata") and options.get("metadata"):
        merged["metadata"] = {**defaults["metadata"], **options["metadata"]}
    return merged


task = TaskDecorator({})
