"""What is done with the values that a task yields."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction


def is_generator(func: Callable[..., Any]) -> bool:
    """Return whether a function is a generator function of either kind."""
    return inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func)


def check_on_yield(func: Callable[..., Any], on_yield: Any) -> None:
    """Raise TypeError for a handler that the values of this function cannot be given to."""
    if not callable(on_yield):
        raise TypeError(f"on_yield must be a function of the yielded value, not {on_yield!r:.100}.")
    if not is_generator(func):
        raise TypeError("on_yield needs a generator function: this one has no yield.")
    is_coroutine = iscoroutinefunction(on_yield) or iscoroutinefunction(type(on_yield).__call__)
    if is_coroutine and inspect.isgeneratorfunction(func):
        raise TypeError("on_yield of a plain generator function must be a plain function.")
