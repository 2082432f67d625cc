"""Loggers for code that runs behind tasks, which may have closed the streams that handlers write to."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any


class RobustLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that raises nothing, whatever a handler or its stream raises."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        with suppress(Exception):
            super().log(level, msg, *args, **kwargs)


def robust_logger(name: str) -> RobustLogger:
    """``logging.getLogger()`` in that form."""
    return RobustLogger(logging.getLogger(name), {})
