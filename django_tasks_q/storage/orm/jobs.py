"""The verbs on jobs, through the ORM."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from ...lifecycle.outcome import CANCELLED, AttemptOutcome, Outcome
from ...lifecycle.states import STARTABLE, JobStatus, is_legal, legal_sources
from ...models import Attempt, Job
from ...models.job import JobQuerySet
from ..claimable import condition
from ..session import RoundTrip, RoundTripResult, Session, repeated
from ..values import Cancelled, Claim, ClaimedJob, NewJobs
from .clock import DatabaseNow
from .operations import Operations, admitted
from .queues import Queues

#: Jobs that are looked at to find out whether others hold all that is left.
MAX_LOCKED = 100
#: Attempts that are marked by one statement. Databases limit how long a condition may be.
MARKED_AT_ONCE = 200


class Jobs(Operations):
    def __init__(self, session: Session, queues: Queues) -> None:
        super().__init__(session)
        self._queues = queues

    # Coming in

    def enqueue(self, send: NewJobs) -> None:
        rows = [
            Job(**dict(zip(send.columns, (*call, *send.shared), strict=True)))
            for call in zip(send.ids, send.arguments, strict=True)
        ]
        if len(rows) == 1:
            rows[0].save(force_insert=True, using=self.alias)
        else:
            Job.objects.using(self.alias).bulk_create(rows, batch_size=1000)

    # Running

    @repeated
    def claim(self, claim: Claim, limit: int) -> list[ClaimedJob]:
        with self.session.transaction():
            features = self.connection.features
            ready = self._ready(claim)
            if features.has_select_for_update:
                ready = ready.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
            ids = list(ready.in_claim_order().values_list("id", flat=True)[:limit])
            if not ids:
                return []
            now = DatabaseNow()
            candidates = Job.objects.using(self.alias).filter(id__in=ids)
            start = legal_sources((JobStatus.READY,), JobStatus.RUNNING)
            candidates.filter(status__in=start).update(
                status=JobStatus.RUNNING,
                fence=F("fence") + 1,
                attempts=F("attempts") + 1,
                worker_id=claim.worker_id,
                started_at=Coalesce(F("started_at"), now),
                last_attempted_at=now,
            )
            # A candidate was ready before the update, so one that is this worker's now was claimed by it.
            won = candidates.filter(status=JobStatus.RUNNING, worker_id=claim.worker_id)
            return list(map(ClaimedJob.of, won.in_claim_order().values_list(*ClaimedJob._fields)))

    @repeated
    def claim_limited(self, claim: Claim, queue: str, limit: int) -> list[ClaimedJob]:
        claim = replace(claim, queues=(queue,), exclude_queues=())
        # Without a lock first: a claim from a queue that is full or empty neither waits nor writes.
        if not self.has_ready(claim) or not self._queues.vacancies(claim.backend, queue):
            return []
        with self.session.transaction():
            limit = min(limit, self._queues.vacancies(claim.backend, queue, locked=True))
            return self.claim(claim, limit) if limit else []

    def _ready(self, claim: Claim) -> JobQuerySet:
        return self._takeable(claim).filter(status=JobStatus.READY)

    def has_ready(self, claim: Claim) -> bool:
        with self.session.by_index():
            return self._ready(claim).exists()

    def has_work(self, claim: Claim) -> bool:
        with self.session.by_index():
            return self._work(claim).exists()

    def locked_work(self, claim: Claim) -> list[UUID]:
        if not self.connection.features.has_select_for_update_skip_locked:
            return []
        with self.session.by_index():
            ids = list(self._work(claim).values_list("id", flat=True)[:MAX_LOCKED])
        with self.session.transaction():
            free = self.session.locked(self._work(claim).filter(id__in=ids), skip=True)
            return [] if list(free.values_list("id", flat=True)[:1]) else ids

    def _work(self, claim: Claim) -> JobQuerySet:
        due = Q(status=JobStatus.SCHEDULED, run_after__lte=DatabaseNow())
        return self._takeable(claim).filter(Q(status=JobStatus.READY) | due)

    def _takeable(self, claim: Claim) -> JobQuerySet:
        return Job.objects.using(self.alias).filter(condition(claim, DatabaseNow()))

    @repeated
    def mark_begun(self, attempts: Collection[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
        marked: set[tuple[UUID, int]] = set()
        with self.session.transaction():
            in_order = sorted(attempts)
            for start in range(0, len(in_order), MARKED_AT_ONCE):
                some = in_order[start : start + MARKED_AT_ONCE]
                these = reduce(or_, (Q(id=id, fence=fence) for id, fence in some))
                running = Job.objects.using(self.alias).filter(these, status=JobStatus.RUNNING)
                if running.update(begun_fence=F("fence")) < len(some):
                    marked |= set(running.values_list("id", "fence"))
                else:
                    marked.update(some)
        return marked

    @repeated
    def finish(self, outcomes: Collection[Outcome]) -> dict[UUID, JobStatus]:
        outcomes = legal(outcomes)
        written: dict[UUID, JobStatus] = {}
        attempts: list[Attempt] = []
        with self.session.transaction():
            jobs = Job.objects.using(self.alias)
            # Locked in one order everywhere, so that two batches never wait for each other.
            rows = {
                row["id"]: row
                for row in self.session.locked(
                    jobs.filter(id__in=[outcome.job_id for outcome in outcomes])
                ).values("id", "attempts", "crashes", "worker_id", "last_attempted_at", "cancel_requested_at")
            }
            for outcome in sorted(outcomes, key=lambda outcome: outcome.job_id):
                row = rows.get(outcome.job_id)
                owned = jobs.filter(id=outcome.job_id, fence=outcome.fence, status=JobStatus.RUNNING)
                if row is None or not owned.update(**(changes := _changes(outcome, row))):
                    continue
                written[outcome.job_id] = changes["status"]
                number = row["attempts"] + row["crashes"]
                if is_recorded(outcome, number):
                    attempts.append(_attempt(outcome, number, row))
            if attempts:
                Attempt.objects.using(self.alias).bulk_create(attempts)
        return written

    def finish_and_claim(self, outcomes: Collection[Outcome], claim: Claim, limit: int) -> RoundTripResult:
        return self.finish(outcomes), self.claim(claim, limit) if limit else []

    def round_trip(self, outcomes: Sequence[Outcome], claim: Claim, limit: int) -> RoundTrip:
        return RoundTrip(limit, partial(self.finish_and_claim, outcomes, claim, limit))

    def stands(self, outcomes: Collection[Outcome]) -> set[UUID]:
        rows = Job.objects.using(self.alias).filter(id__in=[outcome.job_id for outcome in outcomes])
        found = set(rows.values_list("id", "fence", "status", "error_code"))
        return {
            outcome.job_id
            for outcome in outcomes
            if outcome.is_final
            and (
                outcome.job_id,
                outcome.fence,
                outcome.status.value,
                outcome.failure.code if outcome.failure else "",
            )
            in found
        }

    # Being cancelled

    @repeated
    def cancel(self, ids: Collection[UUID], reason: str = "") -> Cancelled:
        with self.session.transaction():
            jobs = Job.objects.using(self.alias).filter(id__in=ids)
            # Named one by one: a state that a newer release has stored is left alone.
            start = [*legal_sources(STARTABLE, JobStatus.CANCELLED), JobStatus.RUNNING]
            unfinished = list(self.session.locked(jobs.filter(status__in=start)).values_list("id", flat=True))
            running = Q(status=JobStatus.RUNNING)
            Job.objects.using(self.alias).filter(id__in=unfinished, status__in=start).update(
                cancel_requested_at=Coalesce(F("cancel_requested_at"), DatabaseNow()),
                cancel_reason=reason,
                finished_at=Case(When(running, then=None), default=DatabaseNow()),
                error_code=Case(When(running, then=F("error_code")), default=Value(CANCELLED)),
                # Last: MySQL computes each of these from the ones before it.
                status=Case(When(running, then=F("status")), default=Value(JobStatus.CANCELLED)),
            )
            rows = Job.objects.using(self.alias).filter(id__in=unfinished).values_list("id", "status")
            done = {id for id, status in rows if status == JobStatus.CANCELLED}
        return Cancelled(done, set(unfinished) - done)

    def cancelling(self, worker_id: UUID) -> set[UUID]:
        rows = Job.objects.using(self.alias).filter(
            worker_id=worker_id, status=JobStatus.RUNNING, cancel_requested_at__isnull=False
        )
        return set(rows.values_list("id", flat=True))


def has_just_succeeded(outcome: Outcome) -> bool:
    """Return whether an attempt succeeded, as nearly all do: shorter statements write that."""
    return outcome.kind is AttemptOutcome.SUCCESSFUL and outcome.status is JobStatus.SUCCESSFUL


def legal(outcomes: Collection[Outcome]) -> list[Outcome]:
    """Return the endings whose state may follow RUNNING.

    Raise IllegalTransition for another one in tests. In production it is refused: see ``states.is_legal()``.
    """
    return [outcome for outcome in outcomes if is_legal(JobStatus.RUNNING, outcome.status)]


def is_recorded(outcome: Outcome, number: int) -> bool:
    """Return whether an attempt is recorded in a row: it ended badly, or it is not the only one."""
    if outcome.is_uncounted:
        return outcome.duration is not None or outcome.is_rescue
    return outcome.failure is not None or number > 1


def _changes(outcome: Outcome, row: Mapping[str, Any]) -> dict[str, Any]:
    is_unwanted = row["cancel_requested_at"] is not None and not outcome.is_final
    changes: dict[str, Any] = {}
    if outcome.is_final or is_unwanted:
        changes["finished_at"] = DatabaseNow()
        changes["result"] = outcome.result
    elif admission := outcome.admission:
        changes |= admitted(admission)
    if not outcome.is_uncounted:
        changes["duration"] = outcome.duration
        changes["error_code"] = outcome.failure.code if outcome.failure else ""
    if is_unwanted:
        changes["error_code"] = CANCELLED
    if row["cancel_requested_at"] is None and (reason := outcome.cancel_reason):
        changes["cancel_reason"] = reason
    if not outcome.attempt_counts:
        changes["attempts"] = F("attempts") - 1
    if outcome.is_crash:
        changes["crashes"] = F("crashes") + 1
    if outcome.is_rescue:
        changes["rescues"] = F("rescues") + 1
    return changes | {"status": JobStatus.CANCELLED if is_unwanted else outcome.status}


def _attempt(outcome: Outcome, number: int, row: Mapping[str, Any]) -> Attempt:
    failure = outcome.failure
    return Attempt(
        job_id=outcome.job_id,
        number=number,
        fence=outcome.fence,
        worker_id=row["worker_id"],
        outcome=outcome.kind.value,
        started_at=row["last_attempted_at"],
        finished_at=DatabaseNow(),
        duration=outcome.duration,
        error_code=failure.code if failure else "",
        exception_class=failure.exception_class if failure else "",
        exit_status=failure.exit_status if failure else None,
        message=failure.message if failure else "",
        data=failure.data if failure else None,
        traceback=failure.traceback if failure else "",
    )
