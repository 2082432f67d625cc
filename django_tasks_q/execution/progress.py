"""What an attempt tells of its progress while it runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..exceptions import UnserializableValue, UnstorableValue
from ..payload import codec
from ..storage import ClaimedJob, Note, ProgressNote

T = TypeVar("T")

#: Seconds between two notes of an attempt; what comes in between is told with the next one, or at the end.
PAUSE = 0.2
#: Largest yielded value that is shown, in bytes.
MAX_VALUE = 16 * 1024


class Reporter:
    """Tells others how far an attempt is, and not too often."""

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
            text = None  # it is the handler's; others see how many there were
        self.set(count, None, "", text)

    def flush(self) -> None:
        """Tell what has not been told yet."""
        update, self._unsent = self._unsent, None
        if update is not None:
            self._sent_at = time.monotonic()
            self._send_update(update)

    def over(self, items: Iterable[T], total: float | None, message: str) -> Iterator[T]:
        """The same items, each counted once it has been dealt with."""
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
