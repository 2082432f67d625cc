"""``@task(atomic=True)``: the task's writes and the end of its job are one transaction.

The fence is checked inside it: an attempt that has lost its job takes all its writes back.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from django.db import DataError, Error, IntegrityError, InterfaceError, OperationalError, transaction

from ..failpoints import failpoint
from ..lifecycle.outcome import Failure, Outcome
from ..lifecycle.states import JobStatus
from ..loggers import robust_logger
from ..storage import Storage
from .attempt import Attempt
from .endings import COMMIT_UNKNOWN, SERIALIZATION_FAILURE, formatted

logger = robust_logger("django_tasks_q.execution")

#: Longest wait, in seconds, before a transaction is tried again that met a concurrent one.
CONFLICT_PAUSE = 0.5


class _Undone(Exception):
    """Rolls the transaction back."""


class _Completion:
    """What has become of the transaction so far."""

    outcome: Outcome | None = None
    #: The end of the job is written in it: from then on only the commit can fail.
    is_written = False
    is_committed = False

    def commit(self) -> None:
        self.is_committed = True


def completed_in_transaction(storage: Storage, attempt: Attempt, call: Callable[[], Any]) -> Outcome:
    """Run user code in a transaction in which its job is completed, or which is rolled back.

    The supervisor writes a failure, as that of every other attempt.
    """
    state = _Completion()
    try:
        with storage.session.transaction(durable=True):
            # First of all, since hooks run in their order, and the task's own may raise.
            transaction.on_commit(state.commit, using=storage.alias)
            state.outcome = attempt.outcome_of(call)
            if state.outcome.status is not JobStatus.SUCCESSFUL:
                raise _Undone
            failpoint("finish.sending")
            if not storage.jobs.finish([state.outcome]):
                raise _Undone
            state.is_written = True
    except _Undone:
        return _repeated(storage, attempt, state.outcome)
    except BaseException as error:
        if attempt.environment.ends_with(error):
            raise
        return _broken(storage, attempt, state, error)
    failpoint("finish.committed")
    return state.outcome._replace(is_written=True)


def _repeated(storage: Storage, attempt: Attempt, outcome: Outcome | None) -> Outcome:
    assert outcome is not None  # noqa: S101 - user code has run
    conflict = attempt.exception
    if isinstance(conflict, OperationalError) and storage.session.may_repeat(conflict):
        return _conflict(attempt, conflict)
    return outcome


def _broken(storage: Storage, attempt: Attempt, state: _Completion, error: BaseException) -> Outcome:
    """Return the Outcome of a transaction that raised at its start, its last write or its commit."""
    outcome = state.outcome
    if state.is_committed and outcome is not None:
        logger.error("An on_commit() callback of job id=%s raised.", attempt.job.id, exc_info=error)
        return outcome._replace(is_written=True)
    if isinstance(error, OperationalError) and storage.session.may_repeat(error):
        return _conflict(attempt, error)
    certain = isinstance(error, DataError | IntegrityError) or not isinstance(error, Error)
    if state.is_written and not certain and isinstance(error, OperationalError | InterfaceError):
        failure = Failure.of(error, COMMIT_UNKNOWN, formatted(error))
        released = Outcome.released(attempt.job.id, attempt.job.fence, attempt.duration, failure)
        return released._replace(in_doubt=True)
    return attempt.raised(error)


def _conflict(attempt: Attempt, error: BaseException) -> Outcome:
    """Return the Outcome of a conflict with another transaction. Nothing was written: it does not count."""
    failure = Failure.of(error, SERIALIZATION_FAILURE, formatted(error))
    released = Outcome.released(attempt.job.id, attempt.job.fence, attempt.duration, failure)
    pause = random.uniform(0.01, CONFLICT_PAUSE)  # noqa: S311 - spreads load, hides nothing
    return released.again_in(pause)
