"""What people do to single jobs: each a write that names the states it may start from."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Q, When

from ...lifecycle.admission import Admission, admit
from ...lifecycle.outcome import CANCELLED
from ...lifecycle.states import FINAL, STARTABLE, JobStatus, legal_sources
from ...models import Attempt, Job, LogLine, Progress
from ..session import Part, repeated
from ..values import Transition
from .clock import DatabaseNow

#: States from which a person may retry a job.
RETRYABLE = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED)
#: States of jobs whose start can be changed.
MOVABLE = (JobStatus.READY, JobStatus.SCHEDULED)
#: States of jobs that a person has to deal with.
DISMISSIBLE = (JobStatus.FAILED, JobStatus.EXPIRED)
#: The jobs that an action has yet to change, where those that it has changed keep their state.
UNDISMISSED = Q(dismissed_at__isnull=True)
UNPINNED = Q(pinned_at__isnull=True)
PINNED = Q(pinned_at__isnull=False)
UNASKED = ~Q(status=JobStatus.RUNNING, cancel_requested_at__isnull=False)
#: Models whose rows belong to a job and are deleted with it.
PARTS = (Attempt, Progress, LogLine)


def starting_otherwise(at: datetime | None) -> Q:
    """Return the condition of jobs that start at another time, or that are not ready if ``at`` is None."""
    scheduled = Q(status=JobStatus.SCHEDULED)
    return scheduled if at is None else ~(scheduled & Q(run_after=at))


def with_others(**values: Any) -> Q:
    """Return the condition of jobs whose columns do not have all these values."""
    return ~Q(**values) if values else Q()


def admitted(admission: Admission) -> dict[str, Any]:
    """Return the columns that an admission changes, with their values."""
    changes: dict[str, Any] = {"status": admission.status}
    if admission.at is not None:
        changes["run_after"] = admission.at
    elif admission.delay is not None:
        changes["run_after"] = DatabaseNow(admission.delay)
    return changes


class Operations(Part):
    """Verbs of people. Each returns the jobs that it changed, and the states of the others."""

    def _move(
        self, ids: Collection[UUID], start: Collection[JobStatus], *more: Q, **changes: Any
    ) -> Transition:
        """Change those jobs that are in a state of ``start`` and fulfil ``more``.

        A state from which the new status may not follow is left out.
        """
        if "status" in changes:
            start = legal_sources(start, changes["status"])
        with self.session.transaction():
            jobs = Job.objects.using(self.alias).filter(id__in=ids)
            # Only these are locked, so that the verb neither waits for running jobs nor delays their ends.
            able = list(
                self.session.locked(jobs.filter(*more, status__in=start)).values_list("id", flat=True)
            )
            if able:
                Job.objects.using(self.alias).filter(*more, id__in=able, status__in=start).update(**changes)
            return self._moved(ids, able)

    def _moved(self, ids: Collection[UUID], able: Collection[UUID]) -> Transition:
        rows = Job.objects.using(self.alias).filter(id__in=ids).values_list("id", "status", "backend")
        done, others, backends = set(able), {}, set()
        for id, status, backend in rows:
            if id in done:
                backends.add(backend)
            else:
                others[id] = status
        return Transition(done, others, backends)

    @repeated
    def retry(self, ids: Collection[UUID], at: datetime | None = None) -> Transition:
        past = Q(expires_at__lte=DatabaseNow())
        if at is not None:
            past |= Q(expires_at__lte=at)
        return self._move(
            ids,
            RETRYABLE,
            attempts=0,
            crashes=0,
            rescues=0,
            begun_fence=None,
            result=None,
            duration=None,
            finished_at=None,
            dismissed_at=None,
            error_code="",
            cancel_requested_at=None,
            cancel_reason="",
            expires_at=Case(When(past, then=None), default=F("expires_at")),
            **admitted(admit(at)),
        )

    @repeated
    def discard(self, ids: Collection[UUID], reason: str = "") -> Transition:
        return self._move(
            ids,
            STARTABLE,
            cancel_requested_at=DatabaseNow(),
            cancel_reason=reason,
            finished_at=DatabaseNow(),
            error_code=CANCELLED,
            status=JobStatus.CANCELLED,
        )

    @repeated
    def dismiss(self, ids: Collection[UUID]) -> Transition:
        return self._move(ids, DISMISSIBLE, UNDISMISSED, dismissed_at=DatabaseNow())

    @repeated
    def reschedule(self, ids: Collection[UUID], at: datetime | None) -> Transition:
        return self._move(ids, MOVABLE, starting_otherwise(at), **admitted(admit(at)))

    @repeated
    def run_now(self, ids: Collection[UUID]) -> Transition:
        return self._move(ids, (JobStatus.SCHEDULED,), **admitted(admit()))

    @repeated
    def change(self, /, ids: Collection[UUID], **values: Any) -> Transition:
        return self._move(ids, STARTABLE, with_others(**values), **values)

    @repeated
    def pin(self, ids: Collection[UUID]) -> Transition:
        return self._move(ids, tuple(JobStatus), UNPINNED, pinned_at=DatabaseNow())

    @repeated
    def unpin(self, ids: Collection[UUID]) -> Transition:
        return self._move(ids, tuple(JobStatus), PINNED, pinned_at=None)

    @repeated
    def delete(self, ids: Collection[UUID]) -> Transition:
        with self.session.transaction():
            jobs = Job.objects.using(self.alias).filter(id__in=ids, status__in=FINAL)
            able = delete_locked(self.alias, self.session.locked(jobs).values_list("id", flat=True))
            return self._moved(ids, able)

    def labels(self, ids: Collection[UUID]) -> list[tuple[UUID, str, str]]:
        rows = Job.objects.using(self.alias).filter(id__in=ids)
        return list(rows.values_list("id", "queue_name", "task_name"))


def delete_locked(alias: str, ids: Collection[UUID]) -> list[UUID]:
    """Delete jobs that this transaction has locked, with all that is kept of them. Return their ids."""
    locked = list(ids)
    if locked:
        for model in PARTS:
            model._default_manager.using(alias).filter(job_id__in=locked).delete()
        jobs = Job.objects.using(alias).filter(id__in=locked)
        if has_foreign_parts():
            jobs.delete()
        else:
            jobs._raw_delete(alias)  # Django would first read all rows, to find what is gone already
    return locked


def has_foreign_parts() -> bool:
    """Whether the project has models that refer to jobs, of whose deletion only Django knows what follows."""
    return any(relation.related_model not in PARTS for relation in Job._meta.related_objects)
