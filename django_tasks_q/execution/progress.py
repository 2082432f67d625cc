"""Sends the progress of an attempt while it runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..exceptions import UnserializableValue, UnstorableValue
from ..payload import codec
from ..storage import ClaimedJob, Note, ProgressNote

T = TypeVar("T")

#: Seconds between two progress updates of an attempt; the latest in between is sent next, or at the end.
PAUSE = 0.2
#: Largest yielded value that is shown, in bytes.
MAX_VALUE = 16 * 1024


class Reporter:
    """Sends the progress of one attempt, a few times a second at most."""

    def __init__(self, job: ClaimedJob, send_update: Callable[[Note], None]) -> None:
        self._job = job
        self._send_update = send_update
        self._sent_at = float("-inf")
        self._unsent: ProgressNote | None = None

    def set(self, current: float, total: float | None, message: str, value: str | None = None) -> None:
        job = self._job
        self._unsent = ProgressNote(job.id, job.fence, float(current), total, message[:255], value)
        if time.monotonic() - self._sent_at >= PAUSE:
            self.flush()

    def yielded(self, value: Any, count: int) -> None:
        """A generator has yielded its ``count``-th value."""
        try:
            text = codec.dumps(value, what="The value", max_bytes=MAX_VALUE)
        except (UnserializableValue, UnstorableValue):
            text = None  # only the count is shown
        self.set(count, None, "", text)

    def flush(self) -> None:
        """Send the latest update that was not sent yet."""
        update, self._unsent = self._unsent, None
        if update is not None:
            self._sent_at = time.monotonic()
            self._send_update(update)

    def over(self, items: Iterable[T], total: float | None, message: str) -> Iterator[T]:
        """Yield the items, and count each when the next one is asked for."""
        total = _length(items) if total is None else total
        self.set(0, total, message)
        for count, item in enumerate(items, 1):
            yield item
            self.set(count, total, message)

    async def aover(self, items: AsyncIterable[T], total: float | None, message: str) -> AsyncIterator[T]:
        """See over()."""
        self.set(0, total, message)
        count = 0
        async for item in items:
            yield item
            count += 1
            self.set(count, total, message)


def _length(items: Any) -> float | None:
    try:
        return len(items)
    except TypeError:
        return None
