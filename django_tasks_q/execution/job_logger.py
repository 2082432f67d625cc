"""The log lines of an attempt: named after their job, and kept with it for tasks that ask for that."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from ..current import running
from ..payload.codec import printable
from ..storage import ClaimedJob, LogNote, Note

#: Most lines kept of an attempt, and the longest, in bytes.
MAX_LINES, MAX_LINE = 1000, 8 * 1024


class LogBook:
    """Keeps the lines of one attempt from a level on."""

    def __init__(self, job: ClaimedJob, level: int, send_update: Callable[[Note], None]) -> None:
        self.level = level
        self._job = job
        self._send_update = send_update
        self._lines = 0

    def keep(self, record: logging.LogRecord) -> None:
        if record.levelno < self.level or self._lines > MAX_LINES:
            return
        self._lines += 1
        if self._lines > MAX_LINES:
            text = f"(Only {MAX_LINES:,} lines of an attempt are kept.)"
        else:
            text = _formatter.format(record)
        job = self._job
        self._send_update(
            LogNote(
                job.id,
                job.fence,
                record.levelno,
                record.name[:255],
                printable(text, MAX_LINE),
                record.created,
            )
        )


class _Capture(logging.Handler):
    """Hands records to the attempt that they were logged in."""

    def emit(self, record: logging.LogRecord) -> None:
        book = getattr(running.get(), "log_book", None)
        if book is None:
            return
        try:
            book.keep(record)
        except Exception:  # a record whose arguments do not fit its text
            self.handleError(record)


_capture = _Capture()
_formatter = logging.Formatter("%(message)s")


def capture() -> None:
    """Keep log records of attempts in this process from now on."""
    if _capture not in logging.root.handlers:
        logging.root.addHandler(_capture)


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of a task's module. Each record has the job's id, the task's name and the attempt.

    Lines that are to be kept with the job are kept even where logging itself drops their level.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, object], book: LogBook | None) -> None:
        super().__init__(logger, extra)
        self._book = book

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}

    def isEnabledFor(self, level: int) -> bool:
        return super().isEnabledFor(level) or (self._book is not None and level >= self._book.level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        if self.logger.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)
        elif self._book is not None:
            record = self.logger.makeRecord(self.logger.name, level, "", 0, msg, args, None)
            self._book.keep(record)
