"""The ``OPTIONS`` of a backend: every key, its default, its type and its meaning, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured

from . import compat
from .definition.options import checked_middleware
from .definition.routing import Route, routes_of
from .exceptions import MAX_CODE
from .executors import executor_name
from .lifecycle.retry import Backoff, ErrorCodes, checked_codes
from .payload.encoders import Encoder, encoder_of
from .validation import flag, kept_seconds, log_level, one_line, seconds, suggestion, whole, words

DAY = 24 * 60 * 60
#: The shortest lease, in seconds: a worker on a busy machine must be able to renew it in time.
SHORTEST_LEASE = 2.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """One backend's options, checked. Field names are the keys of ``OPTIONS`` in lower case."""

    #: Alias of the database that holds the jobs; None lets the router decide.
    database: str | None = None
    #: Attempts of a job whose task names no number, the first one included.
    max_attempts: int = 1
    #: Wait between attempts of a job whose task names none.
    backoff: Any = Backoff()
    #: Seconds an attempt may take; None for no limit.
    timeout: float | None = 30 * 60.0
    #: Seconds between TaskTimeout inside a task and the kill of its process.
    grace: float = 5.0
    #: Executor of plain functions whose task names none: "process", "thread" or a dotted path.
    executor: str = "process"
    #: Times a job may take its process down before it is failed as poison.
    max_crashes: int = 3
    #: Seconds a worker's claim on its jobs outlives its last heartbeat.
    lease: float = 60.0
    #: Whether an enqueue notifies sleeping workers, where the database can.
    notify: bool = True
    #: Seconds that successful and cancelled jobs are kept; None for ever.
    retention: float | None = 7.0 * DAY
    #: Seconds that failed and expired jobs are kept; None for ever.
    retention_failed: float | None = 30.0 * DAY
    #: Priority of a job whose task names none.
    priority: int = compat.DEFAULT_TASK_PRIORITY
    #: Options for tasks by patterns of their names; what a task names itself wins.
    routes: tuple[Route, ...] = ()
    #: Modules beside each app's ``tasks`` that are imported for their tasks.
    task_modules: tuple[str, ...] = ()
    #: Modules that are not imported for tasks: an app's ``tasks``, or a module of such a package.
    exclude_task_modules: tuple[str, ...] = ()
    #: Error codes by exception class or dotted path, for what a task's own do not name.
    error_codes: ErrorCodes = field(default_factory=dict)
    #: The error code of all other exceptions.
    default_error_code: str = "UNHANDLED_EXCEPTION"
    #: Whether return values are kept, unless the task names it.
    store_result: bool = True
    #: Seconds that results are kept; None as long as the job.
    result_ttl: float | None = None
    #: Encoder of return values to JSON, and back: a dotted path, an object, or a pair of callables.
    encoder: Encoder | str | None = None
    #: Whether return values must be of the annotated type, unless the task names it.
    strict: bool = False
    #: Whether tasks must take their arguments by keyword only.
    strict_signatures: bool = False
    #: Middleware of every task, the outermost first.
    middleware: tuple[Any, ...] = ()
    #: Level from which log lines are kept with the job; 0 for none.
    capture_logs: int = 0
    #: ``(request, jobs) -> jobs``, or its dotted path: the jobs that a request may see, everywhere.
    scope_jobs: Callable[..., Any] | str | None = None
    #: ``(request, schedules) -> schedules``, or its dotted path: the same of schedules.
    scope_schedules: Callable[..., Any] | str | None = None
    #: Whether the REST API says without credentials if workers are alive: for load balancers.
    public_health: bool = False
    #: Largest encoded arguments of a job, in bytes.
    max_arguments_bytes: int = 256 * 1024
    #: Largest encoded return value, in bytes.
    max_result_bytes: int = 1024 * 1024

    @classmethod
    def from_settings(cls, options: Mapping[str, Any]) -> Self:
        """Return the options of a settings dict. Raises ImproperlyConfigured with the first problem found."""
        for problem in cls.problems(options):
            raise ImproperlyConfigured(problem)
        return cls(**{key.lower(): _checked(key, value) for key, value in options.items()})

    @classmethod
    def problems(cls, options: Mapping[str, Any]) -> Iterator[str]:
        """Yield one sentence for each unknown key and each unusable value."""
        known = [field.name.upper() for field in fields(cls)]
        for key, value in options.items():
            if key not in known:
                yield f"{key!r} is not an option.{suggestion(str(key).upper(), known)}"
                continue
            try:
                _checked(key, value)
            except (TypeError, ValueError) as error:
                yield str(error)


def _checked(key: str, value: Any) -> Any:
    match key:
        case "PRIORITY":
            low, high = compat.TASK_MIN_PRIORITY, compat.TASK_MAX_PRIORITY
            return whole(value, key, minimum=low, maximum=high)
        case "ROUTES":
            return routes_of(value)
        case "TASK_MODULES" | "EXCLUDE_TASK_MODULES":
            return words(value, key, maximum=255)
        case "ERROR_CODES":
            return checked_codes(value, key)
        case "DEFAULT_ERROR_CODE":
            return one_line(value, key, maximum=MAX_CODE)
        case "RESULT_TTL":
            return None if value is None else kept_seconds(value, key)
        case "ENCODER":
            return None if value is None else encoder_of(value, key)
        case "MIDDLEWARE":
            return checked_middleware(value, key)
        case "CAPTURE_LOGS":
            return log_level(value, key)
        case "DATABASE":
            if value is not None and not isinstance(value, str):
                raise TypeError(f"DATABASE must be the alias of a database, not {value!r}.")
            return value
        case "SCOPE_JOBS" | "SCOPE_SCHEDULES":
            if value is None or callable(value) or (isinstance(value, str) and "." in value):
                return value
            raise TypeError(f"{key} must be a callable or the dotted path of one, not {value!r:.100}.")
        case "NOTIFY" | "PUBLIC_HEALTH" | "STORE_RESULT" | "STRICT" | "STRICT_SIGNATURES":
            return flag(value, key)
        case "EXECUTOR":
            if value == "async":
                raise ValueError(
                    "EXECUTOR is for plain functions, which 'async' does not run: give 'process', 'thread' "
                    "or a dotted path. Coroutine functions run in 'async' without it."
                )
            return executor_name(value, key)
        case "BACKOFF":
            return Backoff.of(value)
        case "TIMEOUT" | "RETENTION" | "RETENTION_FAILED":
            return None if value is None else seconds(value, key, minimum=0.001)
        case "GRACE":
            return seconds(value, key)
        case "LEASE":
            return seconds(value, key, minimum=SHORTEST_LEASE)
        case "MAX_ATTEMPTS" | "MAX_CRASHES":
            return whole(value, key, minimum=1, maximum=32767)
        case _:
            return whole(value, key, minimum=1)
