"""What ends a worker's sleep: its children, signals, notifications from the database, or the time."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db import Error

from ..loggers import robust_logger
from ..storage import Concerns, Listener, Notifications, Storage, always
from .signal_handlers import STOP, STOPS
from .streams import dump_stack_on_quit

if TYPE_CHECKING:
    from _typeshed import HasFileno

logger = robust_logger("django_tasks_q.worker")

#: Seconds between proofs that notifications arrive, and the time that one may take.
VERIFY, PROOF = 15.0, 3.0
#: Seconds before another try to listen; each further one waits twice as long, up to the longest.
RELISTEN, LONGEST_RELISTEN = 5.0, 60.0
#: Seconds after which a job is found whose notification was lost, where notifications are known to arrive.
LOST_NOTIFICATION = 5.0
#: Seconds after a job during which more may come without notifications: they are throttled.
STREAM = 0.5
#: Seconds between two notifications that are acted upon: no sender can make the worker query the database
#: more often.
NOTIFICATION_PAUSE = 0.02
#: The same after notifications that do not concern the worker, which cost it no query.
OTHERS_PAUSE = 0.002


class Signals:
    """Counts requests to stop, and makes a sleeping selector notice them. SIGQUIT dumps the stacks.

    Each STOP that is read from ``stop_descriptor`` is a request, as is its end, if it is the first.
    """

    def __init__(self, stop_descriptor: int | None = None) -> None:
        self.stops = 0
        #: None once nothing more can come from it.
        self.stop_descriptor = stop_descriptor
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                signal.signal(number, self.request_stop)
        dump_stack_on_quit()

    def close(self) -> None:
        """Stop to be woken by signals."""
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def request_stop(self, *_: object) -> None:
        """Count a request to stop."""
        self.stops += 1

    def read_requests(self) -> None:
        """Count the requests that have come from the descriptor."""
        assert self.stop_descriptor is not None  # noqa: S101 - the caller has waited for it
        if requests := os.read(self.stop_descriptor, 64):
            self.stops += requests.count(STOP)
        else:
            self.stops = self.stops or 1
            self.stop_descriptor = None

    def collect_requests(self) -> None:
        """Count requests that have come from the descriptor so far, without waiting."""
        if self.stop_descriptor is not None:
            poll = select.poll()
            poll.register(self.stop_descriptor, select.POLLIN)
            if poll.poll(0):
                self.read_requests()

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> None:
        """Read what signals have written."""
        try:
            while self._reader.recv(4096):
                pass
        except BlockingIOError:
            pass


class Wakeup:
    """Waits for whatever comes first, and listens for notifications."""

    def __init__(
        self, storage: Storage, backend: str, signals: Signals, *, listen: bool, concerns: Concerns = always
    ) -> None:
        self.storage = storage
        self.backend = backend
        self._concerns = concerns
        self.signals = signals
        self.listening = listen
        self._listener: Listener | None = None
        self._pause = RELISTEN
        self._due = 0.0
        self._asked = self._proven = self._is_notified = False
        self._ignored_until = 0.0
        #: Whether notifications may have been lost.
        self._missed = False

    @property
    def is_notified(self) -> bool:
        """Whether notifications are known to arrive."""
        return self._is_notified

    @property
    def longest_pause(self) -> float:
        """Seconds after which an idle worker claims although no notification came: some may be lost."""
        return LOST_NOTIFICATION if self._is_notified else self.storage.session.longest_pause

    def pause(self, idle: float, notified: float) -> float:
        """Return the seconds until the next claim, where no job has come for ``idle`` seconds.

        The last notification is ``notified`` seconds old. It stands for the jobs that its sender stored soon
        after, and the first may have gone to another worker.
        """
        if self._is_notified and idle > STREAM:
            silence = self.storage.session.notify_interval + NOTIFICATION_PAUSE - notified
            return min(silence, max(2 * NOTIFICATION_PAUSE, notified)) if silence > 0 else LOST_NOTIFICATION
        return min(max(self.storage.session.shortest_pause, idle / 8), self.storage.session.longest_pause)

    def wait(self, channels: Iterable[tuple[HasFileno, bool]], timeout: float) -> Notifications:
        """Sleep until one of ``channels`` can be read, or written if its flag says so.

        It takes at most ``timeout`` seconds. Return the notifications that have arrived.
        """
        listener = self._listener
        if self._missed:
            self._missed, timeout = False, 0.0
            # Queries find whatever was missed.
            missed = Notifications(jobs=True, cancels=True, control=True)
        else:
            missed = Notifications()
        if (ignored := self._ignored_until - time.monotonic()) > 0:
            listener, timeout = None, min(timeout, ignored)
        # Made anew each time: the channels to wait for change at every step.
        poll = select.poll()
        poll.register(self.signals, select.POLLIN)
        if (stop := self.signals.stop_descriptor) is not None:
            poll.register(stop, select.POLLIN)
        if listener is not None:
            poll.register(listener, select.POLLIN)
        for channel, writes in channels:
            poll.register(channel, select.POLLIN | select.POLLOUT if writes else select.POLLIN)
        # Rounded up, so that what is due is due then.
        ready = {fd for fd, _ in poll.poll(math.ceil(max(0.0, timeout) * 1000))}
        if self.signals.fileno() in ready:
            self.signals.drain()
        if stop is not None and stop in ready:
            self.signals.read_requests()
        if listener is not None and listener.fileno() in ready:
            return missed | self._drained(listener)
        return missed

    def _drained(self, listener: Listener) -> Notifications:
        try:
            notifications = listener.drain()
        except Error:
            self._lose_listener()
            return Notifications()
        pause = NOTIFICATION_PAUSE if any(notifications) else OTHERS_PAUSE
        self._ignored_until = max(self._ignored_until, time.monotonic() + pause)
        return notifications

    def listen(self) -> None:
        """Keep a listener, and prove from time to time that notifications reach it.

        Raises the Error of the connection by which it is proven.
        """
        now = time.monotonic()
        if not self.listening or now < self._due:
            return
        if self._listener is None:
            self._begin(now)
        elif self._asked:
            self._judge(self._listener, now)
        else:
            self._ask(self._listener, now)

    def _begin(self, now: float) -> None:
        self._due = now + self._pause
        try:
            self._listener = self.storage.notifications.listen(self.backend, self._concerns)
        except Error:
            self._lose_listener()
            return
        if self._listener is None:
            self.listening = False
        else:
            self._ask(self._listener, now)

    def _ask(self, listener: Listener, now: float) -> None:
        listener.ask()
        self._asked, self._due = True, now + PROOF

    def _judge(self, listener: Listener, now: float) -> None:
        if not listener.is_answered:
            self._drained(listener)  # it may have arrived while this process slept
        if listener.is_answered:
            self._asked, self._proven, self._is_notified = False, True, True
            self._pause, self._due = RELISTEN, now + VERIFY
        elif self._proven:
            self._lose_listener()
        else:
            # A pooler that assigns sessions by transaction accepts LISTEN, and notifications go elsewhere.
            logger.warning(
                "Notifications do not arrive, as behind a pooler in transaction mode; this worker "
                "polls. Set 'NOTIFY': False in the OPTIONS of TASKS[%r].",
                self.backend,
            )
            self.listening = False
            self.close()

    def _lose_listener(self) -> None:
        logger.warning("Lost the connection that notifications arrive by; polling until it is back.")
        self.close()
        self._missed = True
        self._due = time.monotonic() + self._pause
        self._pause = min(LONGEST_RELISTEN, self._pause * 2)

    def close(self) -> None:
        """Close the listener."""
        self._asked = self._is_notified = False
        if self._listener is not None:
            self._listener.close()
            self._listener = None
