"""Loggers that never raise, and whether a record would be handled at all."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from types import FunctionType
from typing import Any

from django.conf import settings
from django.utils.log import RequireDebugFalse, RequireDebugTrue


class RobustLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that never raises, for code that runs after tasks.

    A task may have closed the streams that handlers write to.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *args, **kwargs)


def robust_logger(name: str) -> RobustLogger:
    """Return the logger of that name as a RobustLogger."""
    return RobustLogger(logging.getLogger(name), {})


def is_wanted(logger: logging.Logger, level: int) -> bool:
    """Return whether a handler might take a record of that level from a logger.

    It costs a fraction of a record. Nothing is remembered between two calls: handlers, levels and ``DEBUG``
    may change at any time. What cannot be known without a record counts as interest: filters other than those
    of Django's default logging, and replaced methods of ``logging.Logger``, as error trackers have them.
    """
    if not logger.isEnabledFor(level):
        return False
    if not _is_plain(logger):
        return True
    has_handlers = False
    current: logging.Logger | None = logger
    while current is not None:
        for handler in current.handlers:
            has_handlers = True
            if level >= handler.level and not _refuses(handler):
                return True
        current = current.parent if current.propagate else None
    last_resort = logging.lastResort
    return not has_handlers and last_resort is not None and level >= last_resort.level


def _is_plain(logger: logging.Logger) -> bool:
    kind = type(logger)
    return _is_of_logging(kind.callHandlers) and _is_of_logging(kind.handle) and "handle" not in vars(logger)


def _is_of_logging(method: Any) -> bool:
    # By where its code lies: a wrapper may have copied all its names.
    return type(method) is FunctionType and method.__globals__ is vars(logging)


def _refuses(handler: logging.Handler) -> bool:
    """Return whether a handler takes no record at all this moment."""
    if type(handler) is logging.NullHandler:
        return True
    for found in handler.filters:
        if (type(found) is RequireDebugTrue and not settings.DEBUG) or (
            type(found) is RequireDebugFalse and settings.DEBUG
        ):
            return True
    return False
