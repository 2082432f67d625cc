"""How the verbs reach their database: its connection, its errors, its transactions, its hints."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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

#: What ``finish`` and ``claim`` answer.
RoundTripResult = tuple[dict[UUID, JobStatus], list[ClaimedJob]]

#: Seconds for which workers remember that somebody waits for a job.
REMEMBERED = 60.0

#: How often a statement is repeated that lost to a concurrent one without any fault of its own.
MAX_REPEATS = 20
#: Seconds from the first try after which it is not repeated any more: the caller may be a web request, and a
#: single wait for a lock may have taken longer than this.
REPEAT_FOR = 5.0
#: Seconds of the longest pause before the first repetition, and before any. Each is drawn, so that those that
#: met do not meet again.
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.25


class TookTooLong(Exception):
    """A query was given up."""


def repeated(verb: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run a verb again when the database asks for that: a deadlock, a serialization failure, a busy file."""

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
    """Whether the project commits its transactions itself: ``AUTOCOMMIT`` or ``set_autocommit`` is false."""
    if connection.in_atomic_block:
        return not connection.commit_on_exit
    return not connection.get_autocommit()


def is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether the next statement belongs to a transaction of the caller."""
    return connection.in_atomic_block or not connection.get_autocommit()


class Session:
    """One database alias, for as long as the process lives."""

    #: Seconds between two looks of a worker that hears no hints: after there was something, and at most.
    shortest_pause, longest_pause = 0.02, 1.0
    #: Whether workers can be woken by hints, unless the settings say otherwise.
    sends_notifications = False
    #: Seconds for which a hint stands for the jobs that its sender stores after it.
    notify_interval = 0.0

    def __init__(self, alias: str) -> None:
        self.alias = alias

    @property
    def connection(self) -> BaseDatabaseWrapper:
        return connections[self.alias]

    def may_repeat(self, error: OperationalError) -> bool:
        """Whether a statement did nothing and may do better the next time."""
        return False

    def refuses(self, error: DatabaseError) -> bool:
        """Whether an error is about the values of a statement, and would meet it every time."""
        return isinstance(error, DataError | IntegrityError)

    def is_busy(self, error: Exception) -> bool:
        """Whether an error only says that others are at work, and that asking again will do."""
        return isinstance(error, OperationalError) and self.may_repeat(error)

    def prepare_worker(self, seconds: float) -> None:
        """Have this process's future connections give up on a database that is silent for ``seconds``.

        For what a signal cannot interrupt. To be called before the first connection.
        """
        self.commit_at_once()

    def leave_worker(self) -> None:
        """Have this process's future connections serve its caller again, who is no worker."""

    def commit_at_once(self) -> None:
        """Have this process's connections commit by themselves, whatever ``AUTOCOMMIT`` says.

        For programs in which nobody else commits. What was written before, and not committed, is lost.
        """
        connection = self.connection
        connection.settings_dict["AUTOCOMMIT"] = True
        if connection.connection is not None and not connection.get_autocommit():
            connection.close()

    def disconnect(self) -> None:
        """Leave a connection in whatever state it is, without waiting for its other end."""
        connection = self.connection
        with suppress(Exception):  # as when there is none
            connection.connection.close()
        connection.in_atomic_block = False
        with suppress(Error):
            connection.close()
        # An interrupted call may have left the wrapper in the middle of anything.
        del connections[self.alias]

    def before_fork(self) -> None:
        """Close what this process has open, so that no socket has two owners."""
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
        """Queries may take so long each, where the database keeps to that. Raises TookTooLong."""
        yield

    def advice(self) -> Iterator[Advice]:
        """What to change in this database's settings."""
        yield from ()

    @property
    def sees_commits(self) -> bool:
        """Whether an open transaction of this process sees what others commit meanwhile, and lets them."""
        return True

    def migrations(self) -> set[str]:
        """Names of the app's migrations that the tables have seen."""
        applied = MigrationRecorder(self.connection).applied_migrations()
        return {name for app, name in applied if app == Job._meta.app_label}

    def locked(self, jobs: JobQuerySet, *, skip: bool = False) -> JobQuerySet:
        """The same rows, in the order of their ids, and nobody else's until the transaction ends.

        With ``skip`` those that are somebody else's already are left out, where the database can do that.
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
    """Endings that are written while up to ``limit`` jobs are claimed, when the result is asked for."""

    #: Whether the database is at work on it already.
    is_in_flight = False

    def __init__(self, limit: int, work: Callable[[], RoundTripResult]) -> None:
        self.limit = limit
        self._work = work

    def fileno(self) -> int:
        """What to wait for while it is flying."""
        raise NotImplementedError

    def has_landed(self) -> bool:
        """Whether there is nothing to wait for."""
        return True

    def result(self) -> RoundTripResult:
        """The states that were written, and the jobs. Raises a database Error."""
        return self._work()


class Listener:
    """A source of wake-up hints that a selector can wait for."""

    #: Whether what ``ask`` sent has come: until then hints may be lost on the way.
    is_answered = False

    def fileno(self) -> int:
        raise NotImplementedError

    def drain(self) -> Notifications:
        """Take the hints that have come. Raises a database Error when no more can come."""
        raise NotImplementedError

    def ask(self) -> None:
        """Send this listener alone a hint, by way of the worker's other connection.

        Raises that one's Error. Once the hint has been drained, ``is_answered`` is true.
        """
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class JobWaiter:
    """Rings when a worker says that a job may have ended. One that never rings is as good, but slower."""

    def fileno(self) -> int:
        raise NotImplementedError

    def ask(self) -> None:
        """Tell the workers that somebody waits. To be repeated every ``REMEMBERED / 2`` seconds."""
        raise NotImplementedError

    def drain(self) -> None:
        """Have it silent until it rings again. Raises a database Error when it cannot ring any more."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
