"""Verbs that keep the tables in order."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.db.models import CharField, Exists, F, OuterRef, Subquery, Value
from django.db.models.lookups import LessThanOrEqual

from ...failpoints import failpoint
from ...lifecycle.admission import admit
from ...lifecycle.outcome import EXPIRED
from ...lifecycle.states import FINAL, STARTABLE, JobStatus, legal_sources
from ...models import IdempotencyKey, Job, Worker
from ...models.job import JobQuerySet
from ..session import Part, repeated
from ..values import LostJob, NextDue
from .clock import DatabaseNow
from .operations import admitted, delete_locked

#: Seconds ahead in which expiries are reported: more than the time between two looks of an idle worker.
NEAR = 15.0
#: Seconds for which expiries are reported that are past. What is older is left to the regular search.
OVERDUE = 60.0


class Maintenance(Part):
    @repeated
    def promote(self, backend: str, limit: int = 1000) -> int:
        admission = admit(keeps_place=True)
        start = legal_sources((JobStatus.SCHEDULED,), admission.status)
        due = Job.objects.using(self.alias).filter(
            status__in=start, backend=backend, run_after__lte=DatabaseNow()
        )
        # MySQL cannot limit a subquery of the table it updates, hence the list.
        ids = list(due.order_by("run_after").values_list("id", flat=True)[:limit])
        return due.filter(id__in=ids).update(**admitted(admission)) if ids else 0

    def next_due(self, backend: str) -> NextDue:
        jobs = Job.objects.using(self.alias)
        scheduled = jobs.filter(status=JobStatus.SCHEDULED, backend=backend, run_after__isnull=False)
        expiring = jobs.filter(
            status__in=STARTABLE,
            backend=backend,
            expires_at__gt=DatabaseNow(-OVERDUE),
            expires_at__lte=DatabaseNow(NEAR),
        )
        found: dict[str, float] = {}
        rows = [
            # Found by its id, since SQLite takes no order within a union.
            jobs.filter(id=Subquery(these.order_by(column).values("id")[:1]))
            .annotate(which=Value(column, output_field=CharField()), due=F(column), now=DatabaseNow())
            .order_by()
            .values_list("which", "due", "now")
            for column, these in (("run_after", scheduled), ("expires_at", expiring))
        ]
        with self.session.by_index():
            first = list(rows[0].union(rows[1], all=True))
        for which, due, now in first:
            if due is not None:
                found[which] = (due - now).total_seconds()
        return NextDue(found.get("run_after"), found.get("expires_at"))

    @repeated
    def expire(self, backend: str, limit: int = 500) -> list[UUID]:
        start = legal_sources(STARTABLE, JobStatus.EXPIRED)
        due = Job.objects.using(self.alias).filter(
            status__in=start, backend=backend, expires_at__lte=DatabaseNow()
        )
        with self.session.by_index():
            ids = list(due.order_by("expires_at").values_list("id", flat=True)[:limit])
        if not ids:
            return []
        with self.session.transaction():
            # Read again under the lock: they may have started meanwhile.
            ids = list(self.session.locked(due.filter(id__in=ids)).values_list("id", flat=True))
            if ids:
                Job.objects.using(self.alias).filter(id__in=ids, status__in=start).update(
                    finished_at=DatabaseNow(), error_code=EXPIRED, status=JobStatus.EXPIRED
                )
        return ids

    def unknown(
        self, backend: str, known: Collection[str], older_than: float, limit: int = 1000
    ) -> list[str]:
        first = (
            Job.objects.using(self.alias)
            .filter(status=JobStatus.READY, backend=backend)
            .in_claim_order()
            .annotate(waited=LessThanOrEqual(F("enqueued_at"), DatabaseNow(-older_than)))
            .values_list("task_name", "waited")[:limit]
        )
        return sorted({name for name, waited in first if waited and name not in known})

    def lost(self, backend: str, limit: int = 500) -> list[LostJob]:
        alive = Worker.objects.filter(id=OuterRef("worker_id"), lease_expires_at__gt=DatabaseNow())
        rows = (
            Job.objects.using(self.alias)
            .filter(~Exists(alive), status=JobStatus.RUNNING, backend=backend)
            .order_by("id")
            .values_list(*LostJob._fields)[:limit]
        )
        return [LostJob(*row) for row in rows]

    def held(self, worker_id: UUID) -> list[LostJob]:
        rows = Job.objects.using(self.alias).filter(status=JobStatus.RUNNING, worker_id=worker_id)
        return [LostJob(*row) for row in rows.values_list(*LostJob._fields)]

    # What has ended

    @repeated
    def prune(
        self, backend: str, statuses: Collection[JobStatus], older_than: float, limit: int = 500
    ) -> int:
        jobs = Job.objects.using(self.alias).filter(retention__isnull=True, backend=backend)
        done = 0
        # Each state by a separate probe: others that end in between are kept for longer.
        for status in sorted(FINAL.intersection(statuses)):
            if done < limit:
                done += self._prune(jobs.filter(status=status), older_than, limit - done)
        return done

    @repeated
    def prune_retained(self, backend: str, retention: float, limit: int = 500) -> int:
        jobs = Job.objects.using(self.alias).filter(retention=retention, backend=backend)
        return self._prune(jobs.filter(status__in=FINAL), retention, limit)

    def _prune(self, jobs: JobQuerySet, older_than: float, limit: int) -> int:
        old = jobs.filter(finished_at__lt=DatabaseNow(-older_than), pinned_at__isnull=True)
        ids = list(old.order_by("finished_at").values_list("id", flat=True)[:limit])
        if not ids:
            return 0
        failpoint("prune.selected")
        with self.session.transaction():
            # Filtered again under the lock, since Django deletes by id alone.
            # Rows that another worker deletes are skipped, so that neither waits for the other.
            same = Job.objects.using(self.alias).filter(id__in=ids, status__in=FINAL, pinned_at__isnull=True)
            rows = self.session.locked(same, skip=True)
            return len(delete_locked(self.alias, rows.values_list("id", flat=True)))

    @repeated
    def clear_results(self, backend: str, result_ttl: float, limit: int = 500) -> int:
        old = Job.objects.using(self.alias).filter(
            result_ttl=result_ttl,
            result__isnull=False,
            finished_at__lt=DatabaseNow(-result_ttl),
            pinned_at__isnull=True,
            backend=backend,
        )
        ids = list(old.order_by("finished_at").values_list("id", flat=True)[:limit])
        if not ids:
            return 0
        # Only a retry or a deletion writes to a job that has ended.
        same = Job.objects.using(self.alias).filter(id__in=ids, status__in=FINAL, pinned_at__isnull=True)
        return same.update(result=None)

    def own_times(self, backend: str, column: str) -> list[float]:
        rows = Job.objects.using(self.alias).filter(
            backend=backend,
            **({"result__isnull": False} if column == "result_ttl" else {}),
            **{f"{column}__isnull": False},
            finished_at__isnull=False,
            pinned_at__isnull=True,
        )
        found: list[float] = []
        with self.session.by_index():
            while True:
                further = rows.filter(**{f"{column}__gt": found[-1]}) if found else rows
                value = further.order_by(column).values_list(column, flat=True).first()
                if value is None:
                    return found
                found.append(value)

    def forget_keys(self, older_than: float = timedelta(days=1).total_seconds(), limit: int = 500) -> int:
        keys = IdempotencyKey.objects.using(self.alias)
        old = keys.filter(created_at__lt=DatabaseNow(-older_than)).order_by("created_at")
        ids = list(old.values_list("id", flat=True)[:limit])
        return keys.filter(id__in=ids).delete()[0] if ids else 0
