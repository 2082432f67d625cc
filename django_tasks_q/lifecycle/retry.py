"""Rules that decide what follows an attempt. They return values and never touch a row."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from ..exceptions import MAX_CODE, TaskFailure, TaskTimeout
from ..validation import one_line, plain, seconds

if TYPE_CHECKING:
    from ..compat import TaskResult

    AnyResult = TaskResult[..., Any]


#: Rescues of a job from lost workers that do not count, although one of its attempts may have been the cause.
#: After them each attempt is marked before it begins, and counts.
UNCOUNTED_RESCUES = 2


class OnLost(Enum):
    """What becomes of a job when the process or the worker that ran it is gone."""

    RETRY = "retry"
    FAIL = "fail"

    @classmethod
    def of(cls, value: Any) -> OnLost:
        """Raise ValueError for anything else than the two."""
        try:
            return cls(value)
        except ValueError:
            raise ValueError(f"on_lost must be 'retry' or 'fail', not {value!r:.100}.") from None


#: Called with the exception and the task result; returns seconds, or None for no more attempts.
BackoffCallable = Callable[[BaseException, "AnyResult"], "float | timedelta | None"]


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before the next attempt.

    The n-th retry waits ``base * factor ** (n - 1)`` seconds, at most ``maximum``, of which a random
    part up to ``jitter`` (0 to 1) is taken off. ``steps`` names the waits one by one instead, the
    last one repeating. The default doubles from 10 seconds to an hour with full jitter, so that
    jobs which failed together do not return together.
    """

    base: float = 10.0
    factor: float = 2.0
    maximum: float = 3600.0
    jitter: float = 1.0
    steps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("base", "factor", "maximum", "jitter"):
            object.__setattr__(self, name, seconds(getattr(self, name), f"backoff {name}"))
        if self.jitter > 1:
            raise ValueError(f"backoff jitter is a share between 0 and 1, not {plain(self.jitter)}.")
        object.__setattr__(self, "steps", tuple(seconds(step, "backoff step") for step in self.steps))

    @classmethod
    def exponential(
        cls,
        *,
        base: float | timedelta = 10.0,
        factor: float = 2.0,
        maximum: float | timedelta = 3600.0,
        jitter: float = 1.0,
    ) -> Self:
        """Return a rule whose waits grow by ``factor`` from ``base`` to ``maximum`` seconds."""
        return cls(base=base, factor=factor, maximum=maximum, jitter=jitter)  # type: ignore[arg-type]

    @classmethod
    def fixed(cls, *steps: float | timedelta, jitter: float = 0.0) -> Self:
        """Return a rule of the given waits in seconds, one a retry; the last one repeats."""
        if not steps:
            raise ValueError("backoff needs at least one wait, in seconds: the list of waits is empty.")
        return cls(steps=steps, jitter=jitter)  # type: ignore[arg-type]

    @classmethod
    def of(cls, value: Any) -> Backoff | BackoffCallable:
        """Return a rule from any of its spellings: seconds, a list of seconds, a Backoff, a callable."""
        if isinstance(value, Backoff):
            return value
        if callable(value):
            rule: BackoffCallable = value
            return rule
        if isinstance(value, list | tuple):
            return cls.fixed(*value)
        if isinstance(value, dict):
            return cls(**value)
        return cls.fixed(value)

    def delay(self, retry: int) -> float:
        """Return seconds to wait before the ``retry``-th retry, counted from 1."""
        if self.steps:
            wait = self.steps[min(retry, len(self.steps)) - 1]
        else:
            try:
                wait = min(self.base * self.factor ** (retry - 1), self.maximum)
            except OverflowError:
                wait = self.maximum if self.base else 0.0
        return wait - random.random() * self.jitter * wait  # noqa: S311 - spreads load, hides nothing

    def expected(self) -> Self:
        """Return the rule without jitter, for display and tests."""
        return replace(self, jitter=0.0)


#: What ``retry_on`` and ``dont_retry_on`` hold: exception classes, or error codes and class paths.
Matcher = type[BaseException] | str


@dataclass(frozen=True, kw_only=True)
class RetryRule:
    """When a failed attempt is followed by another one, and after how long."""

    max_attempts: int
    backoff: Backoff | BackoffCallable
    retry_on: tuple[Matcher, ...] | None = None
    dont_retry_on: tuple[Matcher, ...] = ()

    def delay(
        self,
        exception: BaseException,
        error_code: str,
        attempts: int,
        result: Callable[[], AnyResult] | None,
    ) -> float | None:
        """Return seconds until the next attempt after the ``attempts``-th one failed, or None to give up.

        With no ``retry_on`` every exception but a timeout is retried. ``result`` makes the task result
        that a callable backoff is shown. What the callable raises is raised; TypeError or ValueError
        when it returns something that is not seconds.
        """
        if attempts >= self.max_attempts or not self._retries(exception, error_code):
            return None
        if isinstance(self.backoff, Backoff):
            return self.backoff.delay(attempts)
        if result is None:
            raise TypeError("A callable backoff needs the task result to be called with.")
        wait = self.backoff(exception, result())
        return None if wait is None else seconds(wait, "backoff")

    def _retries(self, exception: BaseException, error_code: str) -> bool:
        if isinstance(exception, TaskFailure) and exception.retry is not None:
            return exception.retry
        if matches(exception, error_code, self.dont_retry_on):
            return False
        if self.retry_on is None:
            return not isinstance(exception, TaskTimeout)
        return matches(exception, error_code, self.retry_on)


def matches(exception: BaseException, error_code: str, matchers: Sequence[Matcher]) -> bool:
    """Return whether an exception is of a class, or has a code or class path, of ``matchers``."""
    kinds = kinds_of(exception)
    names = {error_code, *map(class_path, kinds)}
    return any(
        matcher in names if isinstance(matcher, str) else any(issubclass(kind, matcher) for kind in kinds)
        for matcher in matchers
    )


def kinds_of(exception: BaseException) -> tuple[type, ...]:
    """Return the classes that an exception counts among in rules, nearest first.

    A timeout of an attempt counts as a ``TimeoutError``, which its class is not: see TaskTimeout.
    """
    kinds = type(exception).__mro__
    if isinstance(exception, TaskTimeout):
        own = kinds[: kinds.index(TaskTimeout) + 1]
        kinds = own + TimeoutError.__mro__
    return kinds


#: From exception classes, or their dotted paths, to error codes.
ErrorCodes = Mapping[Matcher, str]


def error_code(exception: BaseException, *tables: ErrorCodes | None) -> str | None:
    """Return the code of the nearest class of an exception in one of the tables; earlier tables win."""
    for kind in kinds_of(exception):
        for table in tables:
            if table:
                for key in (kind, class_path(kind)):
                    if key in table:
                        return table[key]
    return None


def checked_codes(value: Any, name: str) -> dict[Matcher, str]:
    """Return ``value`` as a table of error codes. Raises TypeError or ValueError naming ``name``."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of exception classes and codes, not {value!r:.100}.")
    checked_matchers(tuple(value), name)
    return {key: one_line(code, f"{name} code", maximum=MAX_CODE) for key, code in value.items()}


def class_path(kind: type | Callable[..., Any]) -> str:
    """Return where a class or function is defined, as dotted names."""
    return f"{kind.__module__}.{kind.__qualname__}"


def checked_matchers(value: Any, name: str) -> tuple[Matcher, ...]:
    """Return ``value`` as a tuple of exception classes and codes. Raises TypeError naming ``name``."""
    items = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    for item in items:
        if isinstance(item, str) and item:
            continue
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            raise TypeError(f"{name} takes exception classes and error codes, not {item!r:.100}.")
    return tuple(items)
