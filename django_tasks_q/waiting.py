"""Waiting for the end of a job: by looking, and where the database can ring, by being told."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import Error

from .storage import REMEMBERED, Doorbell, Storage

#: Seconds of looking before it is worth the trouble to be told.
LOOKING = 0.1
#: Longest wait between two looks, in seconds: without a doorbell, and with one.
LONGEST, LONGEST_TOLD = 0.25, 1.0


class Waiting:
    """One wait for one job. ``storage`` is None where nobody rings."""

    def __init__(self, storage: Storage | None, backend: str, job_id: str, timeout: float | None) -> None:
        self._storage = storage
        self._backend, self._job_id = backend, job_id
        self._began = time.monotonic()
        self._deadline = None if timeout is None else self._began + timeout
        self._bell: Doorbell | None = None
        self._asked_at = float("-inf")

    def pauses(self) -> Iterator[float]:
        """Growing waits until the time is over, with one last look at the end."""
        pause = 0.005
        while True:
            remaining = pause if self._deadline is None else self._deadline - time.monotonic()
            yield max(0.0, min(pause, remaining))
            if remaining <= 0:
                return
            pause = min(pause * 1.5, LONGEST if self._bell is None else LONGEST_TOLD)

    def sleep(self, seconds: float) -> None:
        """Sleep that long, or until it is worth a look."""
        self._see_to_bell()
        if self._bell is None:
            time.sleep(seconds)
        elif select.select([self._bell], [], [], seconds)[0]:
            self._drain()

    async def asleep(self, seconds: float) -> None:
        """See sleep()."""
        if self._wants_bell:
            await sync_to_async(self._see_to_bell)()
        if (bell := self._bell) is None:
            await asyncio.sleep(seconds)
            return
        rung = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(bell.fileno(), rung.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await rung.wait()
        finally:
            loop.remove_reader(bell.fileno())
        if rung.is_set():
            self._drain()

    @property
    def _wants_bell(self) -> bool:
        now = time.monotonic()
        return (
            self._storage is not None
            and now - self._began >= LOOKING
            and now - self._asked_at >= REMEMBERED / 2
        )

    def _see_to_bell(self) -> None:
        if self._storage is None or not self._wants_bell:
            return
        self._asked_at = time.monotonic()
        try:
            if self._bell is None:
                self._bell = self._storage.doorbell(self._backend, UUID(self._job_id))
            if self._bell is not None:
                self._bell.ask()
        except Error:
            self.close()  # looking does without

    def _drain(self) -> None:
        try:
            if self._bell is not None:
                self._bell.drain()
        except Error:
            self.close()

    def close(self) -> None:
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self.close()
