"""The parameters of a task's function, and whether a call fits them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from asgiref.sync import iscoroutinefunction

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Parameters:
    """What is asked of a function for each of its calls, found out once."""

    signature: inspect.Signature
    is_coroutine: bool
    #: How many arguments it takes where all are given by position.
    fewest: int
    most: float

    @classmethod
    @cache
    def of(cls, func: Callable[..., Any], takes_context: bool) -> Parameters:
        """Those that a caller gives: without the context, if the function takes one."""
        signature = inspect.signature(func)
        parameters = list(signature.parameters.values())[1 if takes_context else 0 :]
        required = [
            parameter
            for parameter in parameters
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        most: float = sum(parameter.kind in _POSITIONAL for parameter in parameters)
        if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
            most = float("inf")
        if any(parameter.kind == parameter.KEYWORD_ONLY for parameter in required):
            most = -1  # never by position alone
        return cls(signature.replace(parameters=parameters), iscoroutinefunction(func), len(required), most)

    def obviously_take(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call fits, as far as counting can tell. Else ``signature.bind`` does, and why not."""
        return not kwargs and self.fewest <= len(args) <= self.most
