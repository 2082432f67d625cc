"""How the verbs reach their database: its connection, errors, transactions and notifications."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import wraps
from itertools import count
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from uuid import UUID

from django.db import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    OperationalError,
    connections,
    transaction,
)
from django.db.migrations.recorder import MigrationRecorder

from ..lifecycle.states import JobStatus
from ..models import Job
from ..models.job import JobQuerySet
from .values import Advice, ClaimedJob, Notifications

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Part")

#: What ``finish`` and ``claim`` return.
RoundTripResult = tuple[dict[UUID, JobStatus], list[ClaimedJob]]

#: Seconds for which workers remember that a caller waits for a job.
REMEMBERED = 60.0

#: How often a statement is repeated that lost to a concurrent one.
MAX_REPEATS = 20
#: Seconds from the first try after which it is not repeated any more: the caller may be a web request, and a
#: single wait for a lock may have taken longer than this.
REPEAT_FOR = 5.0
#: Seconds of the longest pause before the first repetition, and before any. Each is drawn, so that those that
#: met do not meet again.
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.25


class TookTooLong(Exception):
    """A query took longer than it may."""


def repeated(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Repeat a verb after a deadlock, a serialization failure or a busy file."""

    @wraps(verb)
    def wrapper(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        began, longest = time.monotonic(), FIRST_PAUSE
        for number in count(1):
            try:
                return verb(self, *args, **kwargs)
            except OperationalError as error:
                # Inside the caller's transaction only the caller can repeat the whole of it.
                if is_in_transaction(self.connection) or not self.session.may_repeat(error):
                    raise
                if number > MAX_REPEATS or time.monotonic() - began >= REPEAT_FOR:
                    raise
            time.sleep(random.uniform(0.0, longest))  # noqa: S311 - spreads load, hides nothing
            longest = min(2 * longest, LONGEST_PAUSE)
        raise AssertionError  # the numbers do not end

    return wrapper


def is_managed_by_hand(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the project commits transactions itself, by ``AUTOCOMMIT`` or ``set_autocommit()``."""
    if connection.in_atomic_block:
        return not connection.commit_on_exit
    return not connection.get_autocommit()


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the next statement belongs to a transaction of the caller."""
    return connection.in_atomic_block or not connection.get_autocommit()


class Session:
    """One database alias, for as long as the process lives."""

    #: Seconds between two polls of a worker without notifications: after it found jobs, and at most.
    shortest_pause, longest_pause = 0.02, 1.0
    #: Whether workers can be notified, unless the settings forbid it.
    sends_notifications = False
    #: Seconds for which a notification also stands for jobs that its sender stores after it.
    notify_interval = 0.0

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]

    def may_repeat(self, error: OperationalError) -> bool:
        """Return whether a statement did nothing and may succeed when it is repeated."""
        return False

    def refuses(self, error: DatabaseError) -> bool:
        """Return whether an error is about the values of a statement, so that a repetition fails as well."""
        return isinstance(error, DataError | IntegrityError)

    @property
    def is_private(self) -> bool:
        """Whether the database is in the memory of this process, where no other one finds it."""
        return False

    def is_usable_in_copy(self) -> bool:
        """Return whether the database can be used in a copy of a process that was using it."""
        return True

    def is_forbidden(self, error: Exception) -> bool:
        """Return whether an error says that the database user lacks a privilege."""
        return False

    def missing_privilege(self) -> str:
        """Return the privilege without which the user sees no tables at all, if it lacks that one."""
        return ""

    def is_busy(self, error: Exception) -> bool:
        """Return whether an error is due to concurrent work only, so that a repetition may succeed."""
        return isinstance(error, OperationalError) and self.may_repeat(error)

    def prepare_worker(self, seconds: float) -> None:
        """Make this process's future connections give up on a database that is silent for ``seconds``.

        That limits calls that no signal interrupts. It must be called before the first connection.
        """
        self.commit_at_once()

    def share_connect_timeout(self, seconds: float) -> None:
        """Where the settings name several hosts, let none of them use up the ``seconds`` of a call."""

    def leave_worker(self) -> None:
        """Undo ``prepare_worker()`` for future connections of a process that is no worker any more."""

    def commit_at_once(self) -> None:
        """Make this process's connections commit each statement, whatever ``AUTOCOMMIT`` is.

        For programs in which no other code commits. What was written and not committed before is lost.
        """
        connection = self.connection
        connection.settings_dict["AUTOCOMMIT"] = True
        if connection.connection is not None and not connection.get_autocommit():
            connection.close()

    def disconnect(self) -> None:
        """Abandon a connection in any state, without waiting for the server."""
        connection = self.connection
        with suppress(Exception):  # as when there is none
            connection.connection.close()
        connection.in_atomic_block = False
        with suppress(Error):
            connection.close()
        # An interrupted call may have left the wrapper in the middle of anything.
        del connections[self.alias]

    def before_fork(self) -> None:
        """Close this process's connections, so that no socket has two owners after a fork."""
        self.connection.close()

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """A transaction that may write; ``durable`` makes sure that it is no part of another one."""
        with transaction.atomic(using=self.alias, durable=durable):
            yield
        self._commit(durable=durable)

    def _commit(self, *, durable: bool) -> None:
        """Do what Django does not at the end of a transaction where the project commits by itself."""
        if durable and not self.connection.get_autocommit():
            self.connection.commit()

    @contextmanager
    def reading(self, seconds: float) -> Iterator[None]:
        """Limit the time of each query, where the database can do that. Raise TookTooLong."""
        yield

    def by_index(self) -> AbstractContextManager[None]:
        """Return a context in which a worker's statements are planned by their indexes.

        It is for a search that ends at its first hit: statistics promise one nearby where there is none.
        """
        return nullcontext()

    def advice(self) -> Iterator[Advice]:
        """Yield what to change in this database's settings."""
        yield from ()

    @property
    def sees_commits(self) -> bool:
        """Whether an open transaction sees what others commit meanwhile, and does not keep them from it."""
        return True

    def migrations(self) -> set[str]:
        """Return the names of the app's migrations that have been applied."""
        applied = MigrationRecorder(self.connection).applied_migrations()
        return {name for app, name in applied if app == Job._meta.app_label}

    def locked(self, jobs: JobQuerySet, *, skip: bool = False) -> JobQuerySet:
        """Return the same jobs, in the order of their ids, locked until the transaction ends.

        With ``skip``, jobs that are locked already are left out, where the database can do that.
        """
        features = self.connection.features
        if features.has_select_for_update:
            jobs = jobs.select_for_update(skip_locked=skip and features.has_select_for_update_skip_locked)
        return jobs.order_by("id")


class Part:
    """A group of verbs. All parts of a storage share one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.alias = session.alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]


class RoundTrip:
    """Endings that are written and up to ``limit`` jobs that are claimed once the result is taken."""

    #: Whether the statements have been sent already.
    is_in_flight = False

    def __init__(self, limit: int, work: Callable[[], RoundTripResult]) -> None:
        self.limit = limit
        self._work = work

    def fileno(self) -> int:
        """Return what a selector waits for while it is in flight."""
        raise NotImplementedError

    def has_landed(self) -> bool:
        """Return whether the result can be taken without waiting."""
        return True

    def result(self) -> RoundTripResult:
        """Return the states that were written, and the claimed jobs. Raise a database Error."""
        return self._work()


class Listener:
    """A source of notifications that a selector can wait for."""

    #: Whether what ``ask`` sent has arrived. Until then notifications may be lost.
    is_answered = False

    def fileno(self) -> int:
        raise NotImplementedError

    def drain(self) -> Notifications:
        """Return the notifications that have arrived. Raise a database Error if no more can arrive."""
        raise NotImplementedError

    def ask(self) -> None:
        """Send this listener alone a notification, by the worker's other connection.

        Raise the Error of that connection. Once the notification has been drained, ``is_answered`` is true.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
