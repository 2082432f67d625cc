"""Writes outcomes so that none of them can stop the worker, whatever it contains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from django.db import DatabaseError

from ..exceptions import ResultUnstorable
from ..failpoints import failpoint
from ..lifecycle.outcome import AttemptOutcome, Failure, Outcome
from ..lifecycle.states import JobStatus
from ..loggers import robust_logger
from ..storage import Storage

logger = robust_logger("django_tasks_q.worker")


Written = dict[UUID, JobStatus]
#: Writes outcomes and returns the states that were written. It may claim jobs in the same transaction.
Finish = Callable[[Sequence[Outcome]], Written]


def write_outcomes(
    storage: Storage, outcomes: Sequence[Outcome], finish: Finish | None = None
) -> tuple[list[Outcome], Written]:
    """Write a batch of outcomes. Return them as they were written, and the states of the jobs.

    ``finish`` takes the place of ``storage.jobs.finish`` for the first try.

    The reply to an earlier try may have been lost: outcomes that are found in the table count as written. An
    outcome that the database refuses to store is written as a failure instead. Raise a database Error that is
    not about the outcomes, for example if the database cannot be reached.
    """
    done = [outcome for outcome in outcomes if outcome.is_written]
    unwritten = [outcome for outcome in outcomes if not outcome.is_written] if done else outcomes
    tried, written = _write(storage, unwritten, finish or storage.jobs.finish)
    failpoint("finish.committed")
    if len(written) < len(tried):
        void = [outcome for outcome in tried if outcome.job_id not in written]
        # An earlier try may have written it, or the attempt its success in its own transaction. That is no
        # longer in doubt: the write has waited for the transaction.
        for form in (void, [_success(outcome) for outcome in void]):
            found = {outcome.job_id: outcome for outcome in form if outcome is not None}
            stands = storage.jobs.stands(found.values())
            written |= {id: found[id].status for id in stands}
            tried = [found[outcome.job_id] if outcome.job_id in stands else outcome for outcome in tried]
    if done:
        written |= {outcome.job_id: outcome.status for outcome in done}
    return [*done, *tried], written


def _success(outcome: Outcome) -> Outcome | None:
    """Return the success that an attempt has written by itself before its process or the reply was lost."""
    if outcome.kind in (AttemptOutcome.SUCCESSFUL, AttemptOutcome.FAILED):
        return None
    kind, status = AttemptOutcome.SUCCESSFUL, JobStatus.SUCCESSFUL
    return outcome._replace(kind=kind, status=status, failure=None, is_written=True)


def _write(storage: Storage, outcomes: Sequence[Outcome], finish: Finish) -> tuple[list[Outcome], Written]:
    if not outcomes:
        return [], {}
    try:
        return list(outcomes), finish(outcomes)
    except DatabaseError as error:
        if not storage.session.refuses(error):
            raise
        logger.exception("The database refused a batch of outcomes; writing them one by one")
    tried: list[Outcome] = []
    written: Written = {}
    for outcome in outcomes:
        last = outcome
        try:
            written |= storage.jobs.finish([last])
        except DatabaseError as error:
            if not storage.session.refuses(error):
                raise
            last = _unstorable(outcome, error)
            written |= storage.jobs.finish([last])
        tried.append(last)
    return tried, written


def _unstorable(outcome: Outcome, error: DatabaseError) -> Outcome:
    return outcome._replace(
        kind=AttemptOutcome.FAILED,
        status=JobStatus.FAILED,
        result=None,
        duration=None,
        failure=Failure.of(ResultUnstorable(f"The database refused it: {error!a}"), "RESULT_UNSTORABLE"),
    )
