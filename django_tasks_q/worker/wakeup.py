"""What ends a worker's sleep: its children, signals, hints from the database, or the time."""

from __future__ import annotations

import faulthandler
import logging
import selectors
import signal
import socket
import time
from collections.abc import Iterable

from django.db import Error

from ..storage import Hints, Listener, Storage
from .protocol import Channel

logger = logging.getLogger("django_tasks_q.worker")

#: Seconds between proofs that the listening session is alive.
VERIFY = 15.0
#: Seconds before another try to listen.
RELISTEN = 5.0


class Signals:
    """Counts requests to stop, and makes a sleeping selector notice them. SIGQUIT dumps the stack."""

    def __init__(self) -> None:
        self.stops = 0
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                signal.signal(number, self._stop)
        faulthandler.register(signal.SIGQUIT, all_threads=True)

    def _stop(self, *_: object) -> None:
        self.stops += 1

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> None:
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            pass


class Wakeup:
    """Waits for whatever comes first."""

    def __init__(self, storage: Storage, backend: str, signals: Signals, *, listen: bool) -> None:
        self.storage = storage
        self.backend = backend
        self.signals = signals
        self.listening = listen
        self._listener: Listener | None = None
        self._next_try = 0.0
        self._verified_at = 0.0

    def wait(self, channels: Iterable[tuple[Channel, bool]], timeout: float) -> Hints:
        """Sleep at most ``timeout`` seconds. Answers the hints that have come."""
        self._listen()
        with selectors.DefaultSelector() as selector:
            selector.register(self.signals, selectors.EVENT_READ)
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            for channel, writes in channels:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0)
                selector.register(channel, events)
            ready = {key.fileobj for key, _ in selector.select(timeout)}
        if self.signals in ready:
            self.signals.drain()
        if self._listener is None or self._listener not in ready:
            return Hints()
        try:
            return self._listener.drain()
        except Error:
            self._lose_listener()
            return Hints(jobs=True, cancels=True)  # whatever was missed is found by looking

    def _listen(self) -> None:
        now = time.monotonic()
        if not self.listening or now < self._next_try:
            return
        try:
            if self._listener is None:
                self._next_try = now + RELISTEN
                self._listener = self.storage.listen(self.backend)
                if self._listener is None:
                    self.listening = False
                self._verified_at = now
            elif now - self._verified_at > VERIFY:
                self._verified_at = now
                self._listener.verify()
        except Error:
            self._lose_listener()

    def _lose_listener(self) -> None:
        logger.warning("Lost the connection that wake-up hints come by; polling until it is back.")
        self.close()
        self._next_try = time.monotonic() + RELISTEN

    def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
