"""The options of a task: their names, their types, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from inspect import isasyncgenfunction
from typing import Any, TypedDict

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.utils import timezone

from .. import compat
from ..dependencies.declaration import check_dependencies
from ..exceptions import MAX_CODE
from ..executors import executor_name
from ..lifecycle.retry import Backoff, OnLost, checked_codes, checked_matchers, class_path
from ..payload import codec
from ..payload.encoders import encoder_of
from ..validation import (
    flag,
    kept_seconds,
    log_level,
    memory_size,
    one_line,
    seconds,
    suggestion,
    whole,
    words,
)
from .on_yield import check_on_yield

#: Longest task, queue and backend names that the job table holds, in characters.
MAX_NAME = 255
MAX_QUEUE_NAME = 128
#: Largest encoded metadata of a job, in bytes.
MAX_METADATA = 16 * 1024


class Default(Enum):
    """Stands for "as the backend's OPTIONS say", where None already means something else."""

    DEFAULT = "default"

    def __repr__(self) -> str:
        return self.name


DEFAULT = Default.DEFAULT


class SendOptions(TypedDict, total=False):
    """What a single send may change; None takes an option back to its default."""

    priority: int | None
    queue_name: str | None
    backend: str | None
    #: Earliest start: a moment, or a ``timedelta`` from now.
    run_after: datetime | timedelta | None
    #: Runs in all, the first one included.
    max_attempts: int | None
    #: Runs after the first one; another spelling of ``max_attempts``.
    max_retries: int | None
    #: Seconds, a list of seconds, a Backoff, or a callable ``(exception, task_result) -> seconds``.
    backoff: Any
    #: Exception classes and error codes that are retried; by default all but a timeout.
    retry_on: Any
    #: Exception classes and error codes that are never retried.
    dont_retry_on: Any
    #: Seconds an attempt may take. Here None means no limit.
    timeout: float | timedelta | None
    #: Bytes that an attempt may use beyond those of its process, or text such as "512M".
    memory: int | str | None
    #: What follows when the process or the worker of an attempt is gone: "retry" or "fail".
    on_lost: str | None
    #: Words to find the job by; those of a send are added to the task's.
    tags: Sequence[str] | None
    #: A JSON object for the project's own use; that of a send is merged over the task's.
    metadata: Mapping[str, Any] | None
    #: Whether the return value is kept.
    store_result: bool | None
    #: Seconds after the job's end at which its result is cleared.
    result_ttl: float | timedelta | None
    #: Seconds after the job's end at which it is deleted, however it ended.
    retention: float | timedelta | None


class UsingOptions(SendOptions, total=False):
    """What ``using()`` takes."""

    #: When the job is not to be started any more: a moment, or a ``timedelta`` from now.
    expires_at: datetime | timedelta | None


class TaskOptions(SendOptions, total=False):
    """What ``@task`` takes."""

    #: The name the task is stored under; by default its module path.
    name: str
    #: Seconds after its enqueueing at which a job is not to be started any more.
    expires: float | timedelta | None
    #: Whether the task's writes, and the end of its job, are one transaction.
    atomic: bool
    #: "process", "thread", "async", or the dotted path of a subclass of ``executors.Executor``.
    executor: str | None
    #: Other names that stored jobs may have.
    aliases: Sequence[str]
    #: For people; by default the first line of the function's docstring.
    description: str
    #: Codes for exceptions, by class or dotted path; the nearest class counts.
    error_codes: Mapping[Any, str] | None
    #: The code for exceptions without one.
    default_error_code: str | None
    #: Encodes the return value to JSON, and decodes it.
    result_encoder: Any
    #: Whether the return value must be what the annotation says.
    strict: bool | None
    #: What goes around the task, from the outside in, within the backend's own.
    middleware: Sequence[Any]
    #: Called with each value of a generator; what it returns is sent into the generator.
    on_yield: Callable[[Any], Any] | None
    #: From which level on log lines are kept with the job: a level, or True for INFO.
    capture_logs: str | int | bool | None
    #: Whether the REST API enqueues it: a flag, or ``(request, task, arguments) -> bool``.
    api: bool | Callable[..., Any]
    #: Whether the admin has a form that enqueues it.
    admin: bool
    #: Names of arguments that are masked, beside those that sound like secrets.
    sensitive: Sequence[str] | None


class InvalidPriority(compat.InvalidTask, TypeError, ValueError):
    """A priority that Django's framework refuses, in its words; an unusable option like others as well."""


def checked_priority(value: Any) -> int:
    """Return a priority. Raises InvalidPriority."""
    low, high = compat.TASK_MIN_PRIORITY, compat.TASK_MAX_PRIORITY
    try:
        return whole(value, "priority", minimum=low, maximum=high)
    except (TypeError, ValueError):
        problem = f"priority must be a whole number between {low} and {high}. {value!r:.100} is not."
        raise InvalidPriority(problem) from None


def refuse_unknown(options: Mapping[str, Any], known: Iterable[str]) -> None:
    known = list(known)
    for name in options:
        if name not in known:
            raise TypeError(f"{name!r} is not a task option.{suggestion(name, known)}")


def refuse_combinations(options: Mapping[str, Any]) -> None:
    """Raise TypeError for options that a function of this kind cannot have."""
    func = options["func"]
    is_coroutine = iscoroutinefunction(func) or isasyncgenfunction(func)
    check_dependencies(func, bool(options.get("takes_context")), is_coroutine)
    if options.get("on_yield") is not None:
        check_on_yield(func, options["on_yield"])
    executor = options.get("executor")
    if executor == "async" and not is_coroutine:
        raise TypeError(
            "executor='async' runs coroutine functions only: use 'thread', or make the task async def."
        )
    if options.get("atomic") and is_coroutine:
        raise TypeError("atomic=True needs a plain function: Django has no asynchronous transactions.")
    executor = executor or ("async" if is_coroutine else None)
    if options.get("memory") is not None and executor in ("thread", "async"):
        raise TypeError(no_memory_limit(executor))


def no_memory_limit(executor: str) -> str:
    """Return why tasks of an executor cannot have the option ``memory``."""
    return (
        f"memory limits a process, and executor {executor!r} runs several tasks in one: use "
        "executor='process', or leave memory out."
    )


def checked(options: Mapping[str, Any], func: Callable[..., Any] | None) -> dict[str, Any]:
    """Return the given options in the form they are kept.

    Raises TypeError or ValueError for the first bad one.
    """
    kept: dict[str, Any] = {}
    if func is not None and ("name" in options or "func" in options):
        kept["name"] = one_line(options.get("name") or class_path(func), "name", maximum=MAX_NAME)
    if "queue_name" in options:
        kept["queue_name"] = one_line(options["queue_name"], "queue_name", maximum=MAX_QUEUE_NAME)
    if "priority" in options:
        kept["priority"] = checked_priority(options["priority"])
    if options.get("max_retries") is not None:
        if options.get("max_attempts") is not None:
            raise TypeError("Give max_attempts or max_retries, not both: one is the other plus one.")
        kept["max_attempts"] = whole(options["max_retries"], "max_retries", minimum=0, maximum=32766) + 1
    elif options.get("max_attempts") is not None:
        kept["max_attempts"] = whole(options["max_attempts"], "max_attempts", minimum=1, maximum=32767)
    if options.get("backoff") is not None:
        kept["backoff"] = Backoff.of(options["backoff"])
    for name in ("retry_on", "dont_retry_on"):
        if options.get(name) is not None:
            kept[name] = checked_matchers(options[name], name)
    if options.get("timeout", DEFAULT) not in (DEFAULT, None):
        kept["timeout"] = seconds(options["timeout"], "timeout", minimum=0.001)
    if options.get("expires") is not None:
        kept["expires"] = seconds(options["expires"], "expires", minimum=0.001)
    if "on_lost" in options:
        kept["on_lost"] = OnLost.of(options["on_lost"])
    if "atomic" in options:
        kept["atomic"] = flag(options["atomic"], "atomic")
    if options.get("executor") is not None:
        kept["executor"] = executor_name(options["executor"], "executor")
    kept |= _checked_extras({name: value for name, value in options.items() if value is not None})
    for name in ("run_after", "expires_at"):
        moment = options.get(name)
        if isinstance(moment, timedelta):
            kept[name] = timezone.now() + moment
        elif isinstance(moment, datetime):
            kept[name] = without_zone(moment)
        elif moment is not None:
            raise TypeError(f"{name} must be a datetime or a timedelta, not {moment!r:.100}.")
    expires_at = kept.get("expires_at", options.get("expires_at"))
    if expires_at is not None and settings.USE_TZ and timezone.is_naive(expires_at):
        raise ValueError(
            f"expires_at must be an aware datetime, since USE_TZ is on, not {expires_at!r}: use "
            "django.utils.timezone.now(), or make_aware()."
        )
    return kept


def _checked_extras(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked options among those that few tasks name. See checked()."""
    kept: dict[str, Any] = {}
    if "aliases" in options:
        kept["aliases"] = words(options["aliases"], "aliases", maximum=MAX_NAME)
    if "description" in options:
        kept["description"] = one_line(options["description"], "description", maximum=255)
    if "tags" in options:
        kept["tags"] = words(options["tags"], "tags")
    if "metadata" in options:
        kept["metadata"] = checked_metadata(options["metadata"])
    for name in ("result_ttl", "retention"):
        if name in options:
            kept[name] = kept_seconds(options[name], name)
    for name in ("store_result", "strict", "admin"):
        if name in options:
            kept[name] = flag(options[name], name)
    if "error_codes" in options:
        kept["error_codes"] = checked_codes(options["error_codes"], "error_codes")
    if "default_error_code" in options:
        kept["default_error_code"] = one_line(
            options["default_error_code"], "default_error_code", maximum=MAX_CODE
        )
    if "result_encoder" in options:
        kept["result_encoder"] = encoder_of(options["result_encoder"], "result_encoder")
    if "middleware" in options:
        kept["middleware"] = checked_middleware(options["middleware"], "middleware")
    if "capture_logs" in options:
        kept["capture_logs"] = log_level(options["capture_logs"], "capture_logs")
    if "memory" in options:
        kept["memory"] = memory_size(options["memory"], "memory")
    if "sensitive" in options:
        kept["sensitive"] = words(options["sensitive"], "sensitive", maximum=MAX_NAME)
    if "api" in options and not callable(options["api"]) and not isinstance(options["api"], bool):
        raise TypeError(f"api must be True, False or a callable, not {options['api']!r:.100}.")
    return kept


def without_zone(moment: datetime) -> datetime:
    """Return a moment as Django stores it: naive in ``TIME_ZONE`` where ``USE_TZ`` is off."""
    if settings.USE_TZ or timezone.is_naive(moment):
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def checked_metadata(value: Any) -> dict[str, Any]:
    """Return a JSON object. Raises TypeError or ValueError."""
    if not isinstance(value, Mapping):
        raise TypeError(f"metadata must be a dict, not {value!r:.100}.")
    metadata: dict[str, Any] = codec.loads(codec.dumps(dict(value), what="metadata", max_bytes=MAX_METADATA))
    return metadata


def checked_middleware(value: Any, name: str) -> tuple[Any, ...]:
    """Return a list of middleware, each by its dotted path or itself. Raises TypeError naming ``name``."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be a list, not {value!r:.100}.")
    for item in value:
        if not (callable(item) or (isinstance(item, str) and "." in item)):
            raise TypeError(f"{name} takes callables and dotted paths, not {item!r:.100}.")
    return tuple(value)
