"""Where tasks run: the options and the executor that the settings give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from ..executors import executor_class
from ..payload.signature import Parameters
from ..validation import one_line
from .options import SendOptions, checked, no_memory_limit, refuse_unknown
from .task import Task

#: What one send may change, but not where it goes or when.
ROUTED = [name for name in SendOptions.__annotations__ if name not in ("backend", "run_after")]


class Route(NamedTuple):
    #: As in a shell: ``reports.*``.
    pattern: str
    options: Mapping[str, Any]


def routes_of(value: Any) -> tuple[Route, ...]:
    """Routes from a dict of patterns and options. Raises TypeError or ValueError for the first bad one."""
    if not isinstance(value, Mapping):
        raise TypeError(f"ROUTES must be a dict of name patterns and options, not {value!r:.100}.")
    routes = []
    for pattern, options in value.items():
        one_line(pattern, "Each pattern of ROUTES", maximum=255)
        if not isinstance(options, Mapping):
            raise TypeError(f"ROUTES[{pattern!r}] must be a dict of options, not {options!r:.100}.")
        try:
            refuse_unknown(options, ROUTED)
            kept = dict(options) | checked(options, None)
            kept.pop("max_retries", None)  # it is max_attempts by now
            routes.append(Route(pattern, kept))
        except (TypeError, ValueError) as error:
            raise type(error)(f"ROUTES[{pattern!r}]: {error}") from None
    return tuple(routes)


def routed(name: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the options that all routes together give to a task of that name; earlier routes win."""
    options: dict[str, Any] = {}
    for route in routes:
        if fnmatchcase(name, route.pattern):
            options = {**route.options, **options}
    return options


def executor_of(task: Task[..., Any], default: str) -> str:
    """Return the name of the executor that a task runs in.

    Coroutine functions run in "async" and others in ``default``, unless the task names its executor.
    """
    is_coroutine = Parameters.of(task.func, task.takes_context).is_coroutine
    return task.executor or ("async" if is_coroutine else default)


def memory_problem(task: Task[..., Any], default: str) -> str | None:
    """Return why the ``memory`` of a task cannot be limited in its executor; None if it can.

    None as well for an executor that cannot be imported.
    """
    name = executor_of(task, default)
    try:
        kind = executor_class(name).kind
    except (ImportError, TypeError):
        return None
    return None if kind == "process" else no_memory_limit(name)
