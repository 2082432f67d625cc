"""Notifications by LISTEN and NOTIFY."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import InterfaceError, connections, transaction
from psycopg import Error as PsycopgError
from psycopg import Notify
from psycopg.pq import TransactionStatus

from ...failpoints import failpoint
from ..notifications import EndListener, NoNotifications
from ..session import Listener, Session, is_managed_by_hand
from ..values import Notifications

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: The payload of a notification of cancellations; that of new jobs is empty. Any session may send them, and
#: they only make workers query.
CANCEL = "cancel"
#: The payload for queues that are paused, resumed or limited, and for workers that are to stop.
CONTROL = "queues"
#: The beginning of the payload for callers that wait for jobs; the ids follow, with commas in between.
WAIT = "wait "
#: The most ids in one payload, which may have 8,000 bytes.
IDS = 200

#: Seconds that a connection by which jobs are watched may take to be opened.
CONNECT_TIMEOUT = 5
#: Seconds after a process's last job after which it notifies again. Workers that were woken poll within this
#: time, and go on polling as long as they find jobs.
QUIET = 0.04
#: For how many times the duration of the last notification a process may stay silent as well. Where many
#: processes send at once, a notification costs as much as a job.
BUSY = 20
#: Longest time in seconds between two notifications while jobs are stored. Workers rely on it.
NOTIFY_INTERVAL = 0.5

NOTIFY = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"
#: For a transaction that consists of this statement. A notification makes its transaction one that writes,
#: and the commit would wait for the disk. A lost notification does no harm.
NOTIFY_ALONE = NOTIFY.replace("SELECT", "SELECT set_config('synchronous_commit', 'off', true),", 1)


class Notifier:
    """Sends notifications to the workers of one database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        #: When the last one was sent, and when the last job was, by backend.
        self.sent_at: dict[str, float] = {}
        self.asked_at: dict[str, float] = {}
        #: Seconds that the last one took.
        self.took = 0.0

    def after_commit(self, backend: str, payload: str = "") -> None:
        """Send a notification once the open transaction, if there is one, has committed."""
        connection = connections[self._alias]
        if is_managed_by_hand(connection):
            # Django does not know of the commit. The server keeps the notification until then, and
            # sends one of several that are alike.
            _notify(connection, channel(backend), [payload])
        else:
            transaction.on_commit(lambda: self._send(backend, payload), using=self._alias, robust=True)

    def ended(self, backend: str, ids: Iterable[UUID]) -> None:
        """Notify callers of jobs that have ended, at once."""
        connection = connections[self._alias]
        connection.ensure_connection()
        _notify(connection, _ended(backend), list(_joined(ids)))

    def _send(self, backend: str, payload: str) -> None:
        if not payload:
            failpoint("enqueue.committed")
            now, long_ago = time.monotonic(), float("-inf")
            quiet = now - self.asked_at.get(backend, long_ago)
            spared = now - self.sent_at.get(backend, long_ago)
            self.asked_at[backend] = now
            if spared < NOTIFY_INTERVAL and (quiet < QUIET or spared < BUSY * self.took):
                return
            self.sent_at[backend] = now
        connection = connections[self._alias]
        if connection.connection is not None:
            began = time.monotonic()
            _notify(connection, channel(backend), [payload])
            self.took = time.monotonic() - began


def _notify(connection: Any, channel: str, payloads: list[str]) -> None:
    # Not by Django's cursor: a notification is no query of the caller's, and is not counted as one.
    with connection.wrap_database_errors:
        raw = connection.connection
        # Only the driver knows: an on_commit hook may run inside a transaction, as it does in tests.
        is_alone = raw.autocommit and raw.info.transaction_status == TransactionStatus.IDLE
        raw.execute(NOTIFY_ALONE if is_alone else NOTIFY, (channel, payloads))


class PostgreSQLListener(Listener):
    """LISTEN on a separate connection, since a session that listens should do nothing else."""

    def __init__(self, alias: str, channel: str) -> None:
        self._alias = alias
        self._channel = channel
        self._own_channel = f"{channel}_{uuid4().hex[:16]}"
        self._connection = _listening(alias, channel, self._own_channel)

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def drain(self) -> Notifications:
        try:
            arrived = {(note.channel, note.payload) for note in self._connection.notifies(timeout=0)}
        except PsycopgError as error:
            raise InterfaceError(str(error)) from error
        self.is_answered |= any(channel == self._own_channel for channel, _ in arrived)
        payloads = {payload for channel, payload in arrived if channel == self._channel}
        waits = {payload for payload in payloads if payload.startswith(WAIT)}
        waited = frozenset(id for wait in waits for id in _ids(wait.removeprefix(WAIT)))
        return Notifications(
            bool(payloads - {CANCEL, CONTROL} - waits), CANCEL in payloads, waited, CONTROL in payloads
        )

    def ask(self) -> None:
        self.is_answered = False
        # On another session: behind a pooler the listening one might receive only what it sends itself.
        with connections[self._alias].cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", (self._own_channel,))

    def close(self) -> None:
        self._connection.close()


class PostgreSQLEndListener(EndListener):
    """LISTEN on the connection by which the jobs are polled. Nothing else uses it."""

    def __init__(self, alias: str) -> None:
        self._wrapper: Any = connections[alias]
        self._channels: set[str] = set()
        #: Those that arrive with the result of a statement are not found by a selector.
        self._arrived: list[str] = []
        self._connection = self._wrapper.connection
        self._connection.add_notify_handler(self._receive)

    @property
    def has_arrived(self) -> bool:
        return bool(self._arrived)

    def fileno(self) -> int:
        return int(self._connection.fileno())

    def ask(self, backend: str, ids: Collection[UUID]) -> None:
        ended = _ended(backend)
        with self._wrapper.wrap_database_errors:
            if ended not in self._channels:
                self._connection.execute(f'LISTEN "{ended}"')
                self._channels.add(ended)
            payloads = [f"{WAIT}{part}" for part in _joined(ids)]
            self._connection.execute(NOTIFY_ALONE, (channel(backend), payloads))

    def drain(self) -> set[UUID]:
        session = self._connection.pgconn
        with self._wrapper.wrap_database_errors:
            # What the driver itself has for this does not go together with a handler.
            session.consume_input()
            while (sent := session.notifies()) is not None:
                self._arrived.append(sent.extra.decode(errors="replace"))
        arrived, self._arrived = self._arrived, []
        # Whatever comes this way comes from a worker.
        self.is_proven |= bool(arrived)
        return {id for payload in arrived for id in _ids(payload)}

    def _receive(self, notification: Notify) -> None:
        self._arrived.append(notification.payload)

    def close(self) -> None:
        self._connection.remove_notify_handler(self._receive)
        if not self._connection.closed and not self._connection.broken:
            self._connection.execute("UNLISTEN *")  # a pool may give the session to others


def _listening(alias: str, *channels: str) -> Any:
    """A new connection that listens. Raises a database Error."""
    wrapper: Any = connections[alias]
    with wrapper.wrap_database_errors:
        # Not by way of Django's pool, which would miss it for ever.
        connection = wrapper.Database.connect(**wrapper.get_connection_params())
        connection.autocommit = True
        for name in channels:
            connection.execute(f'LISTEN "{name}"')
    return connection


def _joined(ids: Iterable[UUID]) -> Iterator[str]:
    """Yield the ids as text, as many at a time as a payload may have."""
    texts = [id.hex for id in ids]
    for start in range(0, len(texts), IDS):
        yield ",".join(texts[start : start + IDS])


def _ids(payload: str) -> set[UUID]:
    """Return the ids in a payload. Any client may have sent it."""
    found = set()
    for text in payload.split(","):
        with suppress(ValueError):
            found.add(UUID(text))
    return found


def _ended(backend: str) -> str:
    """Return the channel for the ends of jobs."""
    return f"{channel(backend)}_ended"


def channel(backend: str) -> str:
    """Return the channel of a backend. Its alias may contain what an identifier may not."""
    return f"django_tasks_q_{hashlib.sha256(backend.encode()).hexdigest()[:16]}"


class PostgreSQLNotifications(NoNotifications):
    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._notifier = Notifier(session.alias)

    def notify_jobs(self, backend: str) -> None:
        self._notifier.after_commit(backend)

    def notify_cancel(self, backend: str) -> None:
        self._notifier.after_commit(backend, CANCEL)

    def notify_control(self, backend: str) -> None:
        self._notifier.after_commit(backend, CONTROL)

    def notify_ended(self, backend: str, ids: Collection[UUID]) -> None:
        self._notifier.ended(backend, ids)

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        options = connection.settings_dict["OPTIONS"]
        options.pop("pool", None)
        options.setdefault("connect_timeout", CONNECT_TIMEOUT)

    def end_listener(self) -> EndListener:
        return PostgreSQLEndListener(self.alias)

    def listen(self, backend: str) -> Listener | None:
        return PostgreSQLListener(self.alias, channel(backend))
