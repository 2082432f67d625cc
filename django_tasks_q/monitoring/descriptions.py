"""Describes the definition of a task, and a schedule."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from inspect import Parameter, Signature
from itertools import islice
from typing import Any, NamedTuple

from .. import compat
from ..backends import DatabaseBackend
from ..conf import Options
from ..definition.options import DEFAULT
from ..definition.routing import executor_of, routed
from ..definition.task import Task
from ..lifecycle.retry import Backoff, class_path
from ..models import Schedule
from ..payload.masking import MASK, is_secret, masked
from ..payload.signature import Parameters
from ..storage import aware
from ..timing import upcoming, zone_of

#: Fields that are described in other words.
_OTHERWISE = ("func", "name", "description", "run_after", "expires_at")


def _signature(task: Task[..., Any]) -> Signature:
    """Return the signature without the defaults of secrets."""
    signature = Parameters.of(task.func, task.takes_context).signature
    return signature.replace(
        parameters=[
            parameter.replace(default=_shown_default(parameter, task.sensitive))
            for parameter in signature.parameters.values()
        ]
    )


def _shown_default(parameter: Parameter, names: Collection[str]) -> Any:
    default = parameter.default
    if default is not parameter.empty and default is not None and is_secret(parameter.name, names):
        return MASK
    if type(default) is tuple:
        return tuple(masked(item, names) for item in default)
    return masked(default, names) if isinstance(default, dict | list) else default


def described(task: Task[..., Any]) -> dict[str, Any]:
    """Return the description of a task, in JSON types; what it leaves to the settings is theirs."""
    settings = _settings(task)
    facts: dict[str, Any] = {
        "name": task.name,
        "description": task.description,
        "function": task.module_path,
        "signature": str(_signature(task)),
        "source": _source(task),
    }
    options = {
        field.name: getattr(task, field.name) for field in fields(task) if field.name not in _OTHERWISE
    }
    if settings is not None:
        from_routes = routed(task.name, settings.routes)
        options |= {name: value for name, value in from_routes.items() if not task.gives(name)}
        options |= _left_to(settings, options)
        if not task.gives("priority") and "priority" not in from_routes:
            options["priority"] = settings.priority
        options["executor"] = executor_of(task, settings.executor)
    return facts | {name: masked(_plain(value), task.sensitive) for name, value in options.items()}


def line(task: Task[..., Any]) -> tuple[str, ...]:
    """Return a task as a row of a table."""
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
    backend = compat.task_backends[task.backend]
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


class Run(NamedTuple):
    """A time to come of a schedule."""

    #: By the clocks of its zone.
    at: datetime
    #: Whether those are put forward or back between the time before and this one.
    clocks_change: bool


def runs(schedule: Schedule, count: int = 5) -> list[Run]:
    """Return the next times of a schedule that fires; none of one that cannot be read."""
    if not schedule.fires or schedule.next_at is None:
        return []
    try:
        zone, first = zone_of(schedule.timezone), aware(schedule.next_at)
        moments = [first, *islice(upcoming(schedule.timing, first), count - 1)]
        local = [moment.astimezone(zone) for moment in moments]
    except (OverflowError, ValueError):  # at either end of what there is of time, too
        return []
    offsets = [datetime.now(zone).utcoffset(), *(moment.utcoffset() for moment in local)]
    return [Run(moment, offsets[number] != offsets[number + 1]) for number, moment in enumerate(local)]


def words_of(schedule: Schedule) -> str:
    """Return when a schedule fires, in plain English; its expression where that cannot be read."""
    try:
        return schedule.timing.explain()
    except ValueError:
        return schedule.expression


def state_of(schedule: Schedule) -> str:
    """Return one of "retired", "disabled", "late" and "active"."""
    if schedule.retired_at is not None:
        return "retired"
    if not schedule.enabled:
        return "disabled"
    return "late" if schedule.is_late else "active"


def scheduled(schedule: Schedule) -> dict[str, Any]:
    """Return the description of a schedule without its arguments."""
    return {
        "name": schedule.name,
        "backend": schedule.backend,
        "origin": schedule.origin,
        "task": schedule.task_name,
        "queue": schedule.queue_name,
        "priority": schedule.priority,
        "kind": schedule.kind,
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "description": words_of(schedule),
        "state": state_of(schedule),
        "is_enabled": schedule.enabled,
        "disabled_at": schedule.disabled_at,
        "disabled_by": schedule.disabled_by,
        "disable_reason": schedule.disable_reason,
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "next_at": schedule.next_at,
        "last_at": schedule.last_at,
        "upcoming": [run.at for run in runs(schedule)],
    }
