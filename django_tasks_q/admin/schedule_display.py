"""Schedules as they are shown: their next times, and the outcomes of their latest times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import OuterRef, Q, Subquery
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..access import database, scope_schedules
from ..lifecycle.states import JobStatus, label_of
from ..models import Firing, Schedule
from ..models.schedule import Outcome
from ..monitoring.descriptions import runs, state_of, words_of
from . import formatting
from .base import jobs_of, may, url

#: The number of outcomes that are shown of each schedule.
LATEST = 10

#: Sign and colour by the state of the job, or by the outcome of a time without a job.
SIGNS = {
    JobStatus.SUCCESSFUL: ("✓", "successful"),
    JobStatus.FAILED: ("✗", "failed"),
    JobStatus.EXPIRED: ("✗", "expired"),
    JobStatus.CANCELLED: ("⊘", "cancelled"),
    JobStatus.RUNNING: ("▸", "running"),
    JobStatus.READY: ("…", "ready"),
    JobStatus.SCHEDULED: ("…", "scheduled"),
    JobStatus.WAITING: ("…", "waiting"),
    Outcome.OVERLAP: ("–", "scheduled"),
    Outcome.SKIPPED: ("–", "cancelled"),
    Outcome.MISSED: ("○", "failed"),
    Outcome.FAILED: ("!", "failed"),
}


class Mark(NamedTuple):
    """The outcome of one time."""

    row: Firing
    sign: str
    kind: str
    label: str
    link: str

    @property
    def badge(self) -> SafeString:
        return formatting.badge(self.label, self.kind)

    @property
    def when(self) -> SafeString:
        return formatting.timestamp(self.row.tick)

    @property
    def title(self) -> str:
        return f"{formatting.timestamp_text(self.row.tick)}: {self.label}"


def visible_schedules(request: HttpRequest) -> Any:
    """Return the schedules that the user may see, annotated with the time of the oldest outcome shown."""
    latest = Firing._default_manager.filter(schedule_id=OuterRef("pk")).order_by("-tick").values("tick")
    since = Subquery(latest[LATEST - 1 : LATEST])
    return scope_schedules(request, Schedule.objects.using(database())).annotate(since=since)


def marks(request: HttpRequest, rows: Iterable[Any]) -> dict[int, list[Mark]]:
    """Return the latest outcomes of schedules, the oldest first. It takes two queries for all of them."""
    condition = Q(pk__isnull=True)
    for row in rows:
        condition |= Q(schedule_id=row.pk, **({"tick__gte": row.since} if row.since else {}))
    firings = list(Firing._default_manager.using(database()).filter(condition).order_by("tick"))
    ids = [firing.job_id for firing in firings if firing.job_id is not None]
    jobs = dict(jobs_of(request).filter(id__in=ids).values_list("id", "status")) if ids else {}
    found: dict[int, list[Mark]] = {}
    for firing in firings:
        found.setdefault(firing.schedule_id, []).append(_mark(firing, jobs, may(request, "view_job")))
    return found


def _mark(firing: Firing, jobs: dict[Any, str], may_open: bool) -> Mark:
    outcome = Outcome(firing.outcome) if firing.outcome in Outcome.values else None
    status = jobs.get(firing.job_id)
    if firing.job_id is None:
        sign, kind = SIGNS.get(outcome, ("?", "cancelled"))  # type: ignore[arg-type]
        label = str(outcome.label) if outcome else firing.outcome
    elif status is None:
        sign, kind, label = "·", "cancelled", _("its job was deleted")
    else:
        sign, kind = SIGNS.get(status, ("?", "cancelled"))  # type: ignore[call-overload]
        label = label_of(status)
    if outcome is Outcome.MANUAL:
        label = _("%(state)s, run by hand") % {"state": label}
    link = url("job_change", firing.job_id) if status is not None and may_open else ""
    return Mark(firing, sign, kind, label, link)


#: Label and colour by the state of a schedule.
STATES = {
    "active": (gettext_lazy("Active"), "successful"),
    "late": (gettext_lazy("Late"), "failed"),
    "disabled": (gettext_lazy("Disabled"), "scheduled"),
    "retired": (gettext_lazy("Removed from the code"), "cancelled"),
}


def table_row(schedule: Schedule, latest: Sequence[Mark] = ()) -> dict[str, Any]:
    """Return what the list and the dashboard show of a schedule."""
    state = state_of(schedule)
    label, kind = STATES[state]
    return {
        "row": schedule,
        "url": url("schedule_change", schedule.pk),
        "state": state,
        "badge": formatting.badge(str(label), kind),
        "words": words_of(schedule),
        "next": formatting.since(schedule.next_at) if schedule.next_at else "",
        "last": formatting.since(schedule.last_at) if schedule.last_at else "",
        "disabled": formatting.since(schedule.disabled_at) if schedule.disabled_at else "",
        "marks": list(latest),
        "jobs_url": url("job_changelist", schedule=schedule.name),
        "is_code": schedule.origin == "code",
        "is_gone": state == "retired",
    }


def next_times(schedule: Schedule) -> list[dict[str, Any]]:
    """Return the next five times in the schedule's time zone."""
    return [
        {
            "at": _time_text(run.at),
            "iso": run.at.isoformat(),
            "zone": f"{run.at:%Z}",
            "clocks_change": run.clocks_change,
        }
        for run in runs(schedule)
    ]


def _time_text(time: datetime) -> str:
    wall = time.replace(tzinfo=None)
    return f"{date_format(wall, 'D')} {date_format(wall, 'SHORT_DATE_FORMAT')} {date_format(wall, 'H:i:s')}"


def of_job(job: Any) -> tuple[str, str] | None:
    """Return name and address of the schedule that has enqueued a job of ``with_schedule()``."""
    if job.schedule_pk is None:
        return None
    return job.schedule_name, url("schedule_change", job.schedule_pk)


def with_schedule(request: HttpRequest, jobs: Any) -> Any:
    """Annotate jobs with the schedule that has enqueued each, if the user may see the schedule."""
    all_schedules = Schedule.objects.using(jobs.db)
    seen = scope_schedules(request, all_schedules)
    firing = Firing._default_manager.filter(job_id=OuterRef("pk"))
    if seen is not all_schedules:
        firing = firing.filter(schedule_id__in=seen.values("pk"))
    return jobs.annotate(
        schedule_pk=Subquery(firing.values("schedule_id")[:1]),
        schedule_name=Subquery(firing.values("schedule__name")[:1]),
    )
