"""Writes outcomes so that none can stop the worker, whatever is in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from django.db import DatabaseError

from ..exceptions import ResultUnstorable
from ..failpoints import failpoint
from ..outcomes import AttemptOutcome, Failure, Outcome
from ..states import JobStatus
from ..storage import Storage

logger = logging.getLogger("django_tasks_q.worker")


def record(storage: Storage, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], set[UUID]]:
    """Write a batch of endings. Answers them as they were written, and the ids that still were theirs.

    An ending that stands already, because the answer to an earlier try was lost, counts as written.
    What the database refuses to store is written as a failure instead. Raises a database Error that is
    not about the outcomes, as when the database does not answer.
    """
    failpoint("finish.sending")
    written, won = _write(storage, outcomes)
    failpoint("finish.committed")
    if len(won) < len(written):
        won |= storage.stands([outcome for outcome in written if outcome.job_id not in won])
    return written, won


def _write(storage: Storage, outcomes: Sequence[Outcome]) -> tuple[list[Outcome], set[UUID]]:
    try:
        return list(outcomes), storage.finish(outcomes)
    except DatabaseError as error:
        if not storage.refuses(error):
            raise
        logger.exception("The database refused a batch of outcomes; writing them one by one")
    written: list[Outcome] = []
    won: set[UUID] = set()
    for outcome in outcomes:
        last = outcome
        try:
            won |= storage.finish([last])
        except DatabaseError as error:
            if not storage.refuses(error):
                raise
            last = _unstorable(outcome, error)
            won |= storage.finish([last])
        written.append(last)
    return written, won


def _unstorable(outcome: Outcome, error: DatabaseError) -> Outcome:
    return replace(
        outcome,
        kind=AttemptOutcome.FAILED,
        status=JobStatus.FAILED,
        result=None,
        duration=None,
        failure=Failure.of(ResultUnstorable(f"The database refused it: {error!a}"), "RESULT_UNSTORABLE"),
    )
