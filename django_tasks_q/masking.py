"""Secrets are shown to nobody: values are masked by the names that they go by."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .parameters import Parameters
from .registry import registry

#: What is shown in place of a secret.
MASK = "********"

# "key" is a word of its own, or of a well-known pair: monkeys and keyboards are no secrets.
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|authori[sz]ation|api[_-]?key|private[_-]?key"
    r"|(^|[^a-z])keys?($|[^a-z])",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

#: Shorter ones are not looked for in texts, where they would hide half of every word.
MIN_REDACTED = 4
#: Shorter beginnings of secrets are left at the end of a text that was cut.
MIN_PART = 6


def is_secret(name: object, names: Collection[str] = ()) -> bool:
    """Whether what goes by that name is not to be shown, by the pattern or by one of ``names``."""
    if not isinstance(name, str):
        return False
    return name.lower() in {each.lower() for each in names} or bool(_SECRET.search(_HUMP.sub("_", name)))


def masked(value: Any, names: Collection[str] = ()) -> Any:
    """A JSON value in which all that dicts hold under secret names is masked; the value stays as it is."""
    if isinstance(value, Mapping):
        return {
            key: MASK if is_secret(key, names) and item is not None else masked(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(item, names) for item in value]
    return value


def masked_arguments(
    task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a job of that task with its secrets masked, those given by position too.

    Where this process does not know the task, nobody can tell what it has declared: all are masked.
    """
    if task_name not in registry:
        return [_hidden(value) for value in args], {name: _hidden(value) for name, value in kwargs.items()}
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
        return set(_secrets([(None, value) for value in (*args, *kwargs.values())], (), True))
    names, parameters = sensitive_names(task_name), _names_of_positions(task_name, len(args))
    return set(_secrets([*zip(parameters, args, strict=True), *kwargs.items()], names, False))


def cleaned(value: Any, secrets: Collection[str]) -> Any:
    """A JSON value without the secrets that are in its texts, its keys and its numbers."""
    if not secrets:
        return value
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, list):
        return [cleaned(item, secrets) for item in value]
    if isinstance(value, dict):
        return {redacted(key, secrets): cleaned(item, secrets) for key, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in secrets:
        return MASK
    return value


def redacted(text: str, secrets: Iterable[str], cut: int | None = None) -> str:
    """A text, such as an error's, without the secrets that somebody has put into it.

    A text that was cut to ``cut`` characters may end within a secret: its beginning is masked, too.
    """
    is_cut = cut is not None and len(text) >= cut
    ordered = sorted(secrets, key=len, reverse=True)
    for secret in ordered:
        text = text.replace(secret, MASK)
    if is_cut:
        ends = [_part_at_end(text, secret) for secret in ordered]
        if longest := max(ends, default=0):
            text = text[:-longest] + MASK
    return text


def _part_at_end(text: str, secret: str) -> int:
    """How many characters of a secret's beginning the text ends with; none if they are too few."""
    lengths = range(min(len(secret) - 1, len(text)), MIN_PART - 1, -1)
    return next((length for length in lengths if text.endswith(secret[:length])), 0)


def _hidden(value: Any) -> Any:
    return None if value is None else MASK


def _secrets(items: Iterable[tuple[Any, Any]], names: Collection[str], inside: bool) -> Iterable[str]:
    for name, value in items:
        hidden = inside or is_secret(name, names)
        if isinstance(value, Mapping):
            yield from _secrets(value.items(), names, hidden)
            if hidden:
                yield from _secrets([(None, key) for key in value], names, hidden)
        elif isinstance(value, list | tuple):
            yield from _secrets([(None, item) for item in value], names, hidden)
        elif hidden and not isinstance(value, bool) and value is not None and len(str(value)) >= MIN_REDACTED:
            text = str(value)
            yield text
            # As errors show it, whose quotes and line breaks are written otherwise.
            yield from {repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}


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
