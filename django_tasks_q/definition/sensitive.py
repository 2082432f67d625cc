"""The secrets among the arguments of a job: by the names that its task declares, and by the usual ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ..payload.masking import MASK, hidden, is_secret, masked, secrets_in
from ..payload.signature import Parameters
from .registry import registry


def masked_arguments(
    task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a job of that task with its secrets masked, those given by position too.

    Where this process does not know the task, nobody can tell what it has declared: all are masked.
    """
    if task_name not in registry:
        return [hidden(value) for value in args], {name: hidden(value) for name, value in kwargs.items()}
    names, parameters = sensitive_names(task_name), _names_of_positions(task_name, len(args))
    shown = [
        MASK if is_secret(name, names) and value is not None else masked(value, names)
        for name, value in zip(parameters, args, strict=True)
    ]
    return shown, masked(dict(kwargs), names)


def sensitive_names(task_name: str) -> tuple[str, ...]:
    """What the task of that name has declared as ``sensitive``; nothing where nobody knows it."""
    # Asked first: a name that is unknown is looked for among all others, to say what was meant.
    return registry.get(task_name).sensitive if task_name in registry else ()


def secrets_of(task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> set[str]:
    """The texts that ``masked_arguments()`` hides, for ``redacted()``."""
    if task_name not in registry:
        # The names of keyword arguments are shown, and are no secrets.
        return set(secrets_in([(None, value) for value in (*args, *kwargs.values())], (), True))
    names, parameters = sensitive_names(task_name), _names_of_positions(task_name, len(args))
    return set(secrets_in([*zip(parameters, args, strict=True), *kwargs.items()], names, False))


def _names_of_positions(task_name: str, count: int) -> list[str]:
    """The parameter that takes each of so many positional arguments; an empty name where none does."""
    task = registry.get(task_name)
    names: list[str] = []
    rest = ""
    for parameter in Parameters.of(task.func, task.takes_context).signature.parameters.values():
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind == inspect.Parameter.VAR_POSITIONAL:
            rest = parameter.name
    return (names + [rest] * max(0, count - len(names)))[:count]
