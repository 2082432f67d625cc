"""Whether a log record would be noticed, asked before it is made."""

from __future__ import annotations

import logging
from types import FunctionType
from typing import Any

from django.conf import settings
from django.utils.log import RequireDebugFalse, RequireDebugTrue


def is_wanted(logger: logging.Logger, level: int) -> bool:
    """Whether a handler might take a record of that level from a logger.

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
    """Whether a handler takes no record at all this moment."""
    if type(handler) is logging.NullHandler:
        return True
    for found in handler.filters:
        if (type(found) is RequireDebugTrue and not settings.DEBUG) or (
            type(found) is RequireDebugFalse and settings.DEBUG
        ):
            return True
    return False
