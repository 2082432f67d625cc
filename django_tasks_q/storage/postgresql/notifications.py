"""Notifications by LISTEN and NOTIFY."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import InterfaceError, connections, transaction
from psycopg import Error as PsycopgError
from psycopg import Notify
from psycopg.pq import TransactionStatus

from ...failpoints import failpoint
from ..notifications import Concerns, EndListener, NoNotifications, always
from ..session import Listener, Session, is_managed_by_hand
from ..values import Notifications

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: The beginning of the payload of new jobs: their executor, a space and their queue follow. It is empty for
#: jobs of any queue. Any session may send notifications, and they only make workers query.
JOBS = "jobs "
#: The payload of a notification of cancellations.
CANCEL = "cancel"
#: The payload for queues that are paused, resumed or limited, and for workers that are to stop.
CONTROL = "queues"
#: Payloads that are sent each time.
NOT_JOBS = frozenset({CANCEL, CONTROL})
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
#: For how many queues and executors a process notifies apart within that time, and in one transaction. For
#: more of them one notification wakes all workers.
MANY = 16

NOTIFY = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"
#: For a transaction that consists of this statement. A notification makes its transaction one that writes,
#: and the commit would wait for the disk. A lost notification does no harm.
NOTIFY_ALONE = NOTIFY.replace("SELECT", "SELECT set_config('synchronous_commit', 'off', true),", 1)


class Notifier:
    """Sends notifications to the workers of one database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        #: When each was sent last, and when the last job of its kind was stored, by backend and payload.
        self.sent_at: dict[tuple[str, str], float] = {}
        self.asked_at: dict[tuple[str, str], float] = {}
        #: Seconds that the last one took.
        self.took = 0.0

    def after_commit(self, backend: str, payload: str) -> None:
        """Send a notification once the open transaction, if there is one, has committed."""
        connection = connections[self._alias]
        if is_managed_by_hand(connection):
            # Django does not know of the commit. The server keeps the notification until then, and
            # sends one of several that are alike.
            _notify(connection, channel(backend), [payload])
            return
        if connection.run_on_commit:
            savepoints, last = connection.run_on_commit[-1][:2]
            if isinstance(last, _AfterCommit) and last.goes_with(backend, savepoints, connection):
                last.payloads[payload] = None
                return
        hook = _AfterCommit(self, backend, payload)
        transaction.on_commit(hook, using=self._alias, robust=True)

    def ended(self, backend: str, ids: Iterable[UUID]) -> None:
        """Notify callers of jobs that have ended, at once."""
        connection = connections[self._alias]
        connection.ensure_connection()
        _notify(connection, _ended(backend), list(_joined(ids)))

    def send(self, backend: str, payloads: Iterable[str]) -> None:
        """Send those of some notifications that are due."""
        failpoint("enqueue.committed")
        now = time.monotonic()
        due = [payload for payload in payloads if payload in NOT_JOBS or self._is_due(backend, payload, now)]
        if not due:
            return
        connection = connections[self._alias]
        if connection.connection is None:
            return
        _notify(connection, channel(backend), self._folded(backend, due, now))
        self.took = time.monotonic() - now

    def _is_due(self, backend: str, payload: str, now: float) -> bool:
        """Return whether jobs need a notification of them, and the last one does not stand for them."""
        key, long_ago = (backend, payload), float("-inf")
        quiet = now - self.asked_at.get(key, long_ago)
        spared = now - max(self.sent_at.get(key, long_ago), self.sent_at.get((backend, ""), long_ago))
        self.asked_at[key] = now
        return spared >= NOTIFY_INTERVAL or (quiet >= QUIET and spared >= BUSY * self.took)

    def _folded(self, backend: str, due: list[str], now: float) -> list[str]:
        """Note what is sent, and return it: the notifications, or one in place of those for many queues."""
        for name in ("sent_at", "asked_at"):
            recent = {key: at for key, at in getattr(self, name).items() if now - at < NOTIFY_INTERVAL}
            setattr(self, name, recent)
        jobs = {payload for payload in due if payload not in NOT_JOBS}
        apart = jobs.union(payload for alias, payload in self.sent_at if alias == backend)
        if len(apart) > MANY:
            due = [*NOT_JOBS.intersection(due), ""]
            jobs = {""}
        self.sent_at.update({(backend, payload): now for payload in jobs})
        return due


class _AfterCommit:
    """Sends the notifications of one transaction."""

    def __init__(self, notifier: Notifier, backend: str, payload: str) -> None:
        self._notifier = notifier
        self.backend = backend
        #: Django names it in the log when it fails.
        self.__qualname__ = type(self).__qualname__
        #: In their order.
        self.payloads: dict[str, None] = {payload: None}

    def goes_with(self, backend: str, savepoints: Set[str], connection: Any) -> bool:
        """Return whether another notification is sent if and only if these are, of ``savepoints``."""
        return self.backend == backend and savepoints == set(connection.savepoint_ids)

    def __call__(self) -> None:
        self._notifier.send(self.backend, self.payloads)


def _notify(connection: Any, channel: str, payloads: list[str]) -> None:
    # Not by Django's cursor: a notification is no query of the caller's, and is not counted as one.
    with connection.wrap_database_errors:
        raw = connection.connection
        # Only the driver knows: an on_commit hook may run inside a transaction, as it does in tests.
        is_alone = raw.autocommit and raw.info.transaction_status == TransactionStatus.IDLE
        raw.execute(NOTIFY_ALONE if is_alone else NOTIFY, (channel, payloads))


class PostgreSQLListener(Listener):
    """LISTEN on a separate connection, since a session that listens should do nothing else."""

    def __init__(self, alias: str, channel: str, concerns: Concerns) -> None:
        self._alias = alias
        self._channel = channel
        self._concerns = concerns
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
        jobs = any(map(self._is_of_jobs, payloads - NOT_JOBS - waits))
        return Notifications(jobs, CANCEL in payloads, waited, CONTROL in payloads)

    def _is_of_jobs(self, payload: str) -> bool:
        """Return whether a notification is of jobs that concern this worker. It may say anything."""
        if not payload.startswith(JOBS):
            return True
        executor, _, queue = payload.removeprefix(JOBS).partition(" ")
        return self._concerns(queue, executor)

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
        # A pooler makes up the process id. In transaction mode it passes notifications on by chance only.
        (pid,) = self._connection.execute("SELECT pg_backend_pid()").fetchone()
        self._is_direct = pid == self._connection.info.backend_pid

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
        self.is_proven |= self._is_direct and bool(arrived)
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

    def notify_jobs(self, backend: str, queue: str = "", executor: str = "") -> None:
        self._notifier.after_commit(backend, f"{JOBS}{executor} {queue}" if queue else "")

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

    def listen(self, backend: str, concerns: Concerns = always) -> Listener | None:
        return PostgreSQLListener(self.alias, channel(backend), concerns)
