"""Schedules as they are shown: when they fire, and what became of their latest times."""

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

#: Outcomes that are shown of each schedule.
LATEST = 10

#: By what became of a job, or of a time that has none: a sign, and the kind that gives it its colour.
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
    """What became of one time."""

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
        return formatting.moment(self.row.tick)

    @property
    def title(self) -> str:
        return f"{formatting.plain(self.row.tick)}: {self.label}"


def schedules(request: HttpRequest) -> Any:
    """The rows that the user may see, with the time of the oldest outcome that is shown of each."""
    latest = Firing._default_manager.filter(schedule_id=OuterRef("pk")).order_by("-tick").values("tick")
    since = Subquery(latest[LATEST - 1 : LATEST])
    return scope_schedules(request, Schedule.objects.using(database())).annotate(since=since)


def marks(request: HttpRequest, rows: Iterable[Any]) -> dict[int, list[Mark]]:
    """The latest outcomes of schedules, the oldest first: two queries for all of them."""
    wanted = Q(pk__isnull=True)
    for row in rows:
        wanted |= Q(schedule_id=row.pk, **({"tick__gte": row.since} if row.since else {}))
    firings = list(Firing._default_manager.using(database()).filter(wanted).order_by("tick"))
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
        sign, kind, label = "·", "cancelled", _("its job is gone")
    else:
        sign, kind = SIGNS.get(status, ("?", "cancelled"))  # type: ignore[call-overload]
        label = label_of(status)
    if outcome is Outcome.MANUAL:
        label = _("%(state)s, run by hand") % {"state": label}
    link = url("job_change", firing.job_id) if status is not None and may_open else ""
    return Mark(firing, sign, kind, label, link)


#: What is said of a schedule's state, and the kind that gives it its colour.
STATES = {
    "active": (gettext_lazy("Active"), "successful"),
    "late": (gettext_lazy("Late"), "failed"),
    "disabled": (gettext_lazy("Disabled"), "scheduled"),
    "retired": (gettext_lazy("Gone from the code"), "cancelled"),
}


def line(schedule: Schedule, latest: Sequence[Mark] = ()) -> dict[str, Any]:
    """A schedule as a row of the list, and of the dashboard."""
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


def to_come(schedule: Schedule) -> list[dict[str, Any]]:
    """The next five times, by the clocks of the schedule's zone."""
    return [
        {
            "at": _shown(run.at),
            "iso": run.at.isoformat(),
            "zone": f"{run.at:%Z}",
            "clocks_change": run.clocks_change,
        }
        for run in runs(schedule)
    ]


def _shown(moment: datetime) -> str:
    wall = moment.replace(tzinfo=None)
    return f"{date_format(wall, 'D')} {date_format(wall, 'SHORT_DATE_FORMAT')} {date_format(wall, 'H:i:s')}"


def of_job(job: Any) -> tuple[str, str] | None:
    """Name and address of the schedule that has enqueued a job, as ``with_schedule`` has found them."""
    if job.schedule_pk is None:
        return None
    return job.schedule_name, url("schedule_change", job.schedule_pk)


def with_schedule(request: HttpRequest, jobs: Any) -> Any:
    """Jobs with the schedule that has enqueued each, if the user may see that one."""
    everybodys = Schedule.objects.using(jobs.db)
    seen = scope_schedules(request, everybodys)
    firing = Firing._default_manager.filter(job_id=OuterRef("pk"))
    if seen is not everybodys:
        firing = firing.filter(schedule_id__in=seen.values("pk"))
    return jobs.annotate(
        schedule_pk=Subquery(firing.values("schedule_id")[:1]),
        schedule_name=Subquery(firing.values("schedule__name")[:1]),
    )
