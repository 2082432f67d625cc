"""What there is to tell of a task's definition."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from . import _framework as framework
from .backends import DatabaseBackend
from .conf import Options
from .definition import Task
from .parameters import Parameters
from .policy import Backoff, class_path
from .routes import routed
from .task_options import DEFAULT
from .worker.groups import executor_of

#: Fields that are told of first, in other words.
_OTHERWISE = ("func", "name", "description", "run_after", "expires_at")


def described(task: Task[..., Any]) -> dict[str, Any]:
    """All there is to know of a task, in JSON types: what it leaves to the settings as they say."""
    settings = _settings(task)
    facts: dict[str, Any] = {
        "name": task.name,
        "description": task.description,
        "function": task.module_path,
        "signature": str(Parameters.of(task.func, task.takes_context).signature),
        "source": _source(task),
    }
    options = {
        field.name: getattr(task, field.name) for field in fields(task) if field.name not in _OTHERWISE
    }
    if settings is not None:
        options |= {
            name: value
            for name, value in routed(task.name, settings.routes).items()
            if options[name] == Task.__dataclass_fields__[name].default
        }
        options |= _left_to(settings, options)
        options["executor"] = executor_of(task, settings)
    return facts | {name: _plain(value) for name, value in options.items()}


def line(task: Task[..., Any]) -> tuple[str, ...]:
    """A task as a row of a table."""
    facts = described(task)
    return (
        facts["name"],
        facts["queue_name"],
        facts["executor"] or "",
        str(facts["max_attempts"] or ""),
        facts["description"],
    )


def _left_to(settings: Options, options: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(Options)}
    missing = [name for name, value in options.items() if value is None or value is DEFAULT]
    return {name: getattr(settings, name) for name in missing if name in names and name != "retention"}


def _settings(task: Task[..., Any]) -> Options | None:
    backend = framework.task_backends[task.backend]
    return backend.settings if isinstance(backend, DatabaseBackend) else None


def _source(task: Task[..., Any]) -> str:
    try:
        return f"{inspect.getsourcefile(task.func)}:{inspect.getsourcelines(task.func)[1]}"
    except (OSError, TypeError):
        return ""


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case timedelta():
            return value.total_seconds()
        case Backoff(steps=steps) if steps:
            return list(steps)
        case Mapping():
            return {str(_plain(key)): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            text = getattr(value, "value", None)
            if isinstance(text, str):
                return text
            return class_path(value) if hasattr(value, "__qualname__") else repr(value)
