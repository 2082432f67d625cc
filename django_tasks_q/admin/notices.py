"""Notices of the dashboard: what is stuck, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..definition.registry import registry
from . import formatting, statistics, worker_display
from .base import url
from .counts import JobCounts

#: A job that has been ready for longer than this, in a queue that a worker serves, waits too long.
LONG_WAIT = timedelta(minutes=5)


#: Failures are reported if they are HALF of the attempts, or PART of them and at least MANY, or at least
#: VERY_MANY. HALF of the attempts is an error, and no mere warning, if these are at least FEW.
HALF, PART = 0.5, 0.1
FEW, MANY, VERY_MANY = 5, 10, 1_000


#: The most notices of one kind; the others are counted in one more.
SHOWN = 5


class Notice(NamedTuple):
    """One problem: what it is, what to do, and a link."""

    kind: str
    what: str
    fix: str
    label: str = ""
    link: str = ""


def notices(
    counts: JobCounts,
    workers: worker_display.RecentWorkers,
    queues: Sequence[Any],
    schedules: Sequence[Any] = (),
    recent: statistics.Recent | None = None,
    *,
    may_workers: bool = False,
    may_queues: bool = False,
) -> list[Notice]:
    """Return all notices, the most severe first.

    Without the permission to view workers the notices are limited to what keeps jobs waiting. Without the
    permission to view queues the reason of a pause is left out.
    """
    return [
        *_no_workers(counts, workers, may_workers),
        *_failing(recent),
        *_stuck(counts, workers),
        *_unserved(counts, workers),
        *_unknown(counts),
        *_paused(counts, queues, may_queues),
        *_waiting_long(counts, workers, queues),
        *(_late(workers) if may_workers else ()),
        *_late_schedules(schedules),
        *_stuck_schedules(schedules),
        *(_versions(workers) if may_workers else ()),
    ]


def _rest(found: Sequence[Any], kind: str, link: str) -> Iterator[Notice]:
    """Yield a notice with the number of those of a kind that are not shown."""
    if (more := len(found) - SHOWN) > 0:
        what = ngettext("%(count)s more of this kind.", "%(count)s more of this kind.", more)
        yield Notice(kind, what % {"count": f"{more:,}"}, "", _("Show all"), link)


def _no_workers(
    counts: JobCounts, workers: worker_display.RecentWorkers, may_workers: bool
) -> Iterator[Notice]:
    waiting = counts.total["ready"] + counts.total["scheduled"]
    if not workers.running and (may_workers or waiting):
        yield Notice(
            "bad" if waiting else "warn",
            _("No worker is running."),
            _("Start one: manage.py runworker"),
        )


def _failing(recent: statistics.Recent | None) -> Iterator[Notice]:
    if recent is None:
        return
    for window in recent.windows:
        if window.share is None:
            is_bad, is_notable = False, window.wrong >= MANY
        else:
            is_bad = window.wrong >= FEW and window.share >= HALF
            is_notable = (
                window.share >= HALF
                or (window.wrong >= MANY and window.share >= PART)
                or window.wrong >= VERY_MANY
            )
        if is_notable:
            yield Notice(
                "bad" if is_bad else "warn",
                window.text,
                _("Check their error messages and tasks."),
                _("Show the failures"),
                url("failed"),
            )
            return


def _stuck(counts: JobCounts, workers: worker_display.RecentWorkers) -> Iterator[Notice]:
    alive = {worker.id for worker in workers.running}
    count = sum(found for worker, found in counts.holders.items() if worker not in alive)
    if count:
        what = ngettext(
            "%(count)s job is assigned to a worker that no longer runs.",
            "%(count)s jobs are assigned to workers that no longer run.",
            count,
        )
        yield Notice(
            "bad",
            what % {"count": count},
            _("A running worker takes them over within seconds. If no worker is running, start one."),
            _("Show the jobs"),
            url("job_changelist", status="running"),
        )


def _unserved(counts: JobCounts, workers: worker_display.RecentWorkers) -> Iterator[Notice]:
    if not workers.running:
        return
    unserved = [
        queue for queue in counts.queues if counts.number(queue, "ready") and not workers.processes_for(queue)
    ]
    unserved.sort(key=lambda queue: (-counts.number(queue, "ready"), queue))
    for queue in unserved[:SHOWN]:
        count = counts.number(queue, "ready")
        yield Notice(
            "bad",
            ngettext(
                "No worker serves the queue “%(queue)s”, where %(count)s job waits.",
                "No worker serves the queue “%(queue)s”, where %(count)s jobs wait.",
                count,
            )
            % {"queue": queue[1], "count": counts.count(queue, "ready")},
            _("Start a worker for it: manage.py runworker --backend %(backend)s --queue %(queue)s")
            % {"backend": queue[0], "queue": queue[1]},
            _("Show the jobs"),
            url("job_changelist", status="ready", queue=queue[1]),
        )
    yield from _rest(unserved, "bad", url("queue_changelist"))


def _unknown(counts: JobCounts) -> Iterator[Notice]:
    unknown = [(-count, task) for task, count in counts.ready_tasks.items() if task not in registry]
    # Tasks are counted only among the jobs that are claimed next.
    more = "+" if counts.is_capped("ready") else ""
    for minus, task in sorted(unknown)[:SHOWN]:
        count = -minus
        yield Notice(
            "bad",
            ngettext(
                "%(count)s job waits for the task “%(task)s”, which is not registered in this process.",
                "%(count)s jobs wait for the task “%(task)s”, which is not registered in this process.",
                count,
            )
            % {"count": f"{count:,}{more}", "task": task},
            _("Deploy the task, add its name to the aliases of another task, or discard the jobs."),
            _("Show the jobs"),
            url("job_changelist", status="ready", task=task),
        )
    yield from _rest(unknown, "bad", url("job_changelist", status="ready"))


def _paused(counts: JobCounts, queues: Iterable[Any], may_queues: bool) -> Iterator[Notice]:
    paused = [
        queue for queue in queues if queue.is_paused and counts.number((queue.backend, queue.name), "ready")
    ]
    target = url("queue_changelist") if may_queues else ""
    for queue in paused[:SHOWN]:
        name = (queue.backend, queue.name)
        count = counts.number(name, "ready")
        yield Notice(
            "warn",
            ngettext(
                "The queue “%(queue)s” is paused, and %(count)s job waits in it.",
                "The queue “%(queue)s” is paused, and %(count)s jobs wait in it.",
                count,
            )
            % {"queue": queue.name, "count": counts.count(name, "ready")},
            (queue.pause_reason if may_queues else "") or _("Resume the queue when its jobs may run."),
            _("Show the queues"),
            target,
        )
    yield from _rest(paused, "warn", target)


def _waiting_long(
    counts: JobCounts, workers: worker_display.RecentWorkers, queues: Iterable[Any]
) -> Iterator[Notice]:
    paused = {(queue.backend, queue.name) for queue in queues if queue.is_paused}
    now = timezone.now()
    found = [
        (since, queue)
        for queue, since in counts.oldest.items()
        if now - since > LONG_WAIT and queue not in paused and workers.processes_for(queue)
    ]
    for since, queue in sorted(found)[:SHOWN]:
        age = now - since
        yield Notice(
            "warn",
            _("A job has been ready in the queue “%(queue)s” for %(time)s.")
            % {"queue": queue[1], "time": formatting.roughly(age.total_seconds())},
            _("Its workers do not keep up. Start more workers, or check the running jobs."),
            _("Show running jobs"),
            url("job_changelist", status="running", queue=queue[1]),
        )
    yield from _rest(found, "warn", url("queue_changelist"))


def _late(workers: worker_display.RecentWorkers) -> Iterator[Notice]:
    if late := workers.late:
        what = ngettext(
            "%(count)d worker has stopped sending heartbeats: %(names)s.",
            "%(count)d workers have stopped sending heartbeats: %(names)s.",
            len(late),
        )
        names = ", ".join(worker.name for worker in late[:5])
        yield Notice(
            "warn",
            what % {"count": len(late), "names": names},
            _("Check their hosts. Other workers take over their jobs."),
            _("Show the workers"),
            url("worker_changelist"),
        )


def _late_schedules(schedules: Sequence[Any]) -> Iterator[Notice]:
    late = [schedule for schedule in schedules if schedule.is_late and not schedule.is_stuck]
    if late:
        what = ngettext(
            "%(count)d schedule is late: %(names)s.",
            "%(count)d schedules are late: %(names)s.",
            len(late),
        )
        names = ", ".join(schedule.name for schedule in late[:5])
        unknown = sorted({schedule.task_name for schedule in late if schedule.task_name not in registry})
        fix = _("Start a worker whose code contains their tasks. Other workers do not fire these schedules.")
        if unknown:
            fix = _("Deploy the task “%(task)s”, or disable the schedule.") % {"task": unknown[0]}
        yield Notice(
            "bad",
            what % {"count": len(late), "names": names},
            fix,
            _("Show the schedules"),
            url("schedule_changelist"),
        )


def _stuck_schedules(schedules: Sequence[Any]) -> Iterator[Notice]:
    stuck = [schedule for schedule in schedules if schedule.is_stuck]
    if stuck:
        what = ngettext(
            "%(count)d schedule is enabled and has no next time: %(names)s.",
            "%(count)d schedules are enabled and have no next time: %(names)s.",
            len(stuck),
        )
        yield Notice(
            "bad",
            what % {"count": len(stuck), "names": ", ".join(schedule.name for schedule in stuck[:5])},
            _("Disable and enable the schedule, which computes its next time, or correct its expression."),
            _("Show the schedules"),
            url("schedule_changelist"),
        )


def _versions(workers: worker_display.RecentWorkers) -> Iterator[Notice]:
    found = workers.versions()
    if len(found) > 1:
        yield Notice(
            "warn",
            _("Workers of several versions are running: %(versions)s.") % {"versions": ", ".join(found)},
            _("Restart the workers of older versions."),
            _("Show the workers"),
            url("worker_changelist"),
        )
