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
    """Return the arguments of a job of that task with its secrets masked, those given by position too.

    Where this process does not know the task, and so not its ``sensitive`` names, all are masked.
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
    """Return the names that a task has declared as ``sensitive``; none if this process does not know it."""
    # get() would compare an unknown name with all others, to suggest one.
    return registry.get(task_name).sensitive if task_name in registry else ()


def secrets_of(task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> set[str]:
    """Return the texts that ``masked_arguments()`` hides, for ``redacted()``."""
    if task_name not in registry:
        # The names of keyword arguments are shown, and are no secrets.
        return set(secrets_in([(None, value) for value in (*args, *kwargs.values())], (), True))
    names, parameters = sensitive_names(task_name), _names_of_positions(task_name, len(args))
    return set(secrets_in([*zip(parameters, args, strict=True), *kwargs.items()], names, False))


def _names_of_positions(task_name: str, count: int) -> list[str]:
    """Return the parameter that takes each of so many positional arguments; an empty name where none does."""
    task = registry.get(task_name)
    names: list[str] = []
    rest = ""
    for parameter in Parameters.of(task.func, task.takes_context).signature.parameters.values():
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind == inspect.Parameter.VAR_POSITIONAL:
            rest = parameter.name
    return (names + [rest] * max(0, count - len(names)))[:count]
