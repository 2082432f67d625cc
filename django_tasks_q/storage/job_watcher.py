"""Watches jobs for all callers of a process that wait for them, with one thread and one session a database.

It only says when a caller should query its job: at once, when the database has sent a notification of the
job's end, and otherwise after a poll, which is one query for all jobs. What a caller sees, and by which
connection, is the caller's affair: it may be in a transaction, or in the schema of a tenant. Callers whose
watcher fails poll by themselves.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections

from ..polling import readable
from .session import REMEMBERED

if TYPE_CHECKING:
    from .contract import Storage
    from .notifications import EndListener

logger = logging.getLogger("django_tasks_q.results")

#: Seconds for which thread and session are kept when the last caller has gone. A database cannot be dropped
#: meanwhile: PostgreSQL waits five seconds for sessions that are about to end.
LINGER = 1.0
#: Seconds between two polls: after a caller has come, at most, and at most where notifications arrive.
SHORTEST, LONGEST, LONGEST_NOTIFIED = 0.05, 0.25, 1.0
#: How many times longer than a poll the pause after it is at least, as far as it is not the longest.
IDLE_SHARE = 10
#: Seconds without a poll after which callers poll by themselves, and the session is given up.
STALE = 5.0
#: Seconds before another try to connect after the second failure, and at most. The first is repeated at once.
RECONNECT, LONGEST_RECONNECT = 0.5, 30.0
#: The most ids in one query.
CHUNK = 500


class WatcherThread(threading.Thread):
    """The thread of a watcher. It cleans its connection itself."""


class JobWatch:
    """What a caller waits with for a job, until ``close()``.

    ``wake`` is called in another thread when the job may have ended, or with ``changes`` when it may have
    changed: that is, its row, its progress or its log.
    """

    def __init__(
        self,
        watcher: JobWatcher,
        backend: str,
        id: UUID,
        wake: Callable[[], None],
        *,
        notify: bool,
        changes: bool,
    ) -> None:
        self.backend, self.id, self.wake = backend, id, wake
        self.notify, self.changes = notify, changes
        self.began_at = time.monotonic()
        self._watcher = watcher

    @property
    def is_served(self) -> bool:
        """Whether the watcher works. If it does not, the caller must poll."""
        return self._watcher.serves(self)

    def close(self) -> None:
        self._watcher.remove(self)


class JobWatcher:
    """Watches the jobs in one database."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        #: All watches, in the order in which they came, and those that the thread has not seen.
        self._watches: dict[JobWatch, None] = {}
        self._new: list[JobWatch] = []
        self._thread: WatcherThread | None = None
        self._is_stopping = False
        #: Written to wake the thread.
        self._waker, self._reader = socket.socketpair()
        self._waker.setblocking(False)
        self._reader.setblocking(False)
        #: When all watches were last served, and whether the last try failed.
        self._served_at, self._is_failing = float("-inf"), False
        #: Number of the session's socket, to cut it when the thread hangs.
        self._descriptor: int | None = None

        # What follows belongs to the thread.
        self._is_open = False
        self._listener: EndListener | None = None
        self._idle_since: float | None = None
        self._failures = 0
        self._retry_at = self._poll_at = 0.0
        self._pause = SHORTEST
        #: When the workers were last notified of a caller that waits for a job.
        self._asked: dict[UUID, float] = {}
        self._versions: dict[UUID, Any] = {}

    # Callers

    def watch(
        self, backend: str, id: UUID, wake: Callable[[], None], *, notify: bool, changes: bool = False
    ) -> JobWatch:
        """Watch a job. Without ``notify``, no notification of its end is asked for."""
        watch = JobWatch(self, backend, id, wake, notify=notify, changes=changes)
        with self._lock:
            self._watches[watch] = None
            self._new.append(watch)
            if self._thread is None:
                self._start()
        self._wake()
        return watch

    def remove(self, watch: JobWatch) -> None:
        with self._lock:
            self._watches.pop(watch, None)
            is_last = not self._watches
        if is_last:
            self._wake()  # from now on it lingers

    def serves(self, watch: JobWatch) -> bool:
        if self._is_failing:
            return False
        if time.monotonic() - max(self._served_at, watch.began_at) < STALE:
            return True
        self._cut()
        return False

    def stop(self) -> None:
        """End the thread and its session. Callers that wait poll from then on."""
        with self._lock:
            thread, self._is_stopping, self._is_failing = self._thread, True, True
        if thread is not None:
            self._wake()
            thread.join(STALE)
        with self._lock:
            self._is_stopping = False

    def seal(self) -> None:
        """Make sure that this copy of a process does nothing with the session of the original."""
        for descriptor in (self._descriptor, self._waker.fileno(), self._reader.fileno()):
            if descriptor is not None:
                with suppress(OSError):
                    nothing = os.open(os.devnull, os.O_RDWR)
                    os.dup2(nothing, descriptor)
                    os.close(nothing)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is about to wake anyway
            self._waker.send(b".")

    def _start(self) -> None:
        thread = WatcherThread(
            target=self._run, name=f"django_tasks_q waits ({self._storage.alias})", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # as while the interpreter exits
            self._is_failing = True
        else:
            self._thread, self._is_failing = thread, False

    def _cut(self) -> None:
        """End a session that hangs, so that its thread gets an error. It then opens another one."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
                copy.shutdown(socket.SHUT_RDWR)

    # The thread

    def _run(self) -> None:
        try:
            while self._step():
                pass
        finally:
            self._close()

    def _step(self) -> bool:
        """Serve all watches once and sleep. Return False if this thread is to end."""
        now = time.monotonic()
        with self._lock:
            watches, new, self._new = list(self._watches), self._new, []
            if watches and not self._is_stopping:
                self._idle_since = None
            else:
                self._idle_since = self._idle_since or now
                if self._is_stopping or now - self._idle_since >= LINGER:
                    # Under the lock: a watch that is added later starts another thread.
                    self._close()
                    self._thread = self._idle_since = None
                    return False
        try:
            seconds = self._serve(watches, new) if watches else self._rest(now)
            self._sleep(seconds)
        except Exception as error:
            self._failed(error)
        return True

    def _rest(self, now: float) -> float:
        self._asked.clear()
        self._versions.clear()
        if self._listener is not None:
            self._listener.drain()
        return LINGER - (now - (self._idle_since or now))

    def _serve(self, watches: list[JobWatch], new: list[JobWatch]) -> float:
        """Serve those watches that are due. Return the seconds until more are."""
        now = time.monotonic()
        if now < self._retry_at:
            return self._retry_at - now
        if not self._is_open:
            self._open()
            new = watches
        if new:
            self._pause, self._poll_at = SHORTEST, min(self._poll_at, now + SHORTEST)
        # Before the query: of a job that ends after it, the end is notified.
        notified = self._listen(watches, new, now)
        if now >= self._poll_at:
            self._query(watches)
            took = time.monotonic() - now
            longest = LONGEST_NOTIFIED if self._listener and self._listener.is_proven else LONGEST
            self._pause = min(max(self._pause * 1.5, IDLE_SHARE * took), longest)
            self._poll_at = time.monotonic() + self._pause
        elif due := notified.union(watch.id for watch in new):
            # With all that watch the same job: what has changed is found once.
            self._query([watch for watch in watches if watch.id in due])
        self._failures, self._served_at, self._is_failing = 0, time.monotonic(), False
        if self._listener is not None and self._listener.has_arrived:
            return 0.0
        return self._poll_at - time.monotonic()

    def _listen(self, watches: list[JobWatch], new: Sequence[JobWatch], now: float) -> set[UUID]:
        """Have the workers notify of the ends of jobs. Return the jobs that have been notified of."""
        if self._listener is None:
            return set()
        due = [watch for watch in new if watch.id not in self._asked]
        if now >= self._poll_at:
            known = {watch.id for watch in watches}
            self._asked = {id: at for id, at in self._asked.items() if id in known}
            self._versions = {id: version for id, version in self._versions.items() if id in known}
            due = [
                watch for watch in watches if now - self._asked.get(watch.id, -REMEMBERED) >= REMEMBERED / 2
            ]
        waited: dict[str, set[UUID]] = {}
        for watch in due:
            if watch.notify:
                waited.setdefault(watch.backend, set()).add(watch.id)
        for backend, ids in waited.items():
            self._listener.ask(backend, ids)
            self._asked.update(dict.fromkeys(ids, now))
        return self._listener.drain()

    def _query(self, due: Iterable[JobWatch]) -> None:
        """Wake the callers whose jobs have ended, changed, or gone."""
        verbs = self._storage.notifications
        ended: set[UUID] = set()
        for ids in _chunks({watch.id for watch in due if not watch.changes}):
            ended |= verbs.ended(ids)
        for ids in _chunks({watch.id for watch in due if watch.changes}):
            versions = verbs.versions(ids)
            for id in ids:
                version = versions.get(id)
                if version is None or self._versions.get(id) != version:
                    ended.add(id)
                    self._versions[id] = version
        for watch in due:
            if watch.id in ended:
                watch.wake()

    def _sleep(self, seconds: float) -> None:
        sources: list[Any] = [self._reader]
        if self._listener is not None:
            sources.append(self._listener)
        if self._reader in readable(sources, max(0.0, seconds)):
            with suppress(BlockingIOError):
                while self._reader.recv(4096):
                    pass

    def _open(self) -> None:
        # An object for this thread alone, and not by way of Django's pool, which would miss the session.
        alias = self._storage.alias
        connection = connections[alias].copy()
        connection.settings_dict["AUTOCOMMIT"] = True
        self._storage.notifications.prepare(connection)
        connections[alias] = connection
        connection.ensure_connection()
        self._is_open = True
        with suppress(Exception):  # not all drivers have it
            self._descriptor = connection.connection.fileno()
        self._listener = self._storage.notifications.end_listener()

    def _failed(self, error: Exception) -> None:
        if not self._failures:
            logger.info("The session that watches jobs for callers has failed.", exc_info=error)
        self._is_failing = True
        self._close()
        self._failures += 1
        pause = min(RECONNECT * 2 ** (self._failures - 2), LONGEST_RECONNECT) if self._failures > 1 else 0.0
        self._retry_at = time.monotonic() + pause
        self._poll_at = 0.0

    def _close(self) -> None:
        self._descriptor = None
        self._is_open = False
        self._asked.clear()
        self._versions.clear()
        if self._listener is not None:
            with suppress(Exception):
                self._listener.close()
            self._listener = None
        with suppress(Exception):
            connections[self._storage.alias].close()


def _chunks(ids: Collection[UUID]) -> Iterable[list[UUID]]:
    every = list(ids)
    for start in range(0, len(every), CHUNK):
        yield every[start : start + CHUNK]


_watchers: dict[str, JobWatcher] = {}
_lock = threading.Lock()
#: Those of the process that this one is a copy of. They are never freed.
_inherited: list[JobWatcher] = []


def watcher_for(storage: Storage) -> JobWatcher:
    """Return the watcher of this process for the database of a storage."""
    with _lock:
        watcher = _watchers.get(storage.alias)
        if watcher is None:
            watcher = _watchers[storage.alias] = JobWatcher(storage)
        return watcher


def stop_watchers() -> None:
    """End all sessions that watch jobs."""
    for watcher in list(_watchers.values()):
        watcher.stop()


def _forget_watchers() -> None:
    """Forget, in a copy of a process, the watchers of the original. Their threads are not here."""
    global _lock  # noqa: PLW0603 - a lock of the original process may be held for ever
    _lock = threading.Lock()
    for watcher in _watchers.values():
        watcher.seal()
        _inherited.append(watcher)
    _watchers.clear()


atexit.register(stop_watchers)
os.register_at_fork(after_in_child=_forget_watchers)
