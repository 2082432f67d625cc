"""The one way into READY and SCHEDULED: whether a job that may run is ready now, or due later."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from .states import JobStatus


class Admission(NamedTuple):
    """The state that a job is admitted to, and what becomes of its ``run_after``.

    At most one of the times is set. With neither the job keeps the ``run_after`` that it has.
    """

    status: JobStatus
    #: The time from which the job may start.
    at: datetime | None = None
    #: The same in seconds from now, by the clock of the database.
    delay: float | None = None


def admit(
    at: datetime | None = None,
    *,
    delay: float | None = None,
    now: datetime | None = None,
    keeps_place: bool = False,
) -> Admission:
    """Return where a job goes that may run: to READY, or to SCHEDULED where its start lies ahead.

    ``at`` is the time of its start, and ``delay`` the same in seconds from now; without either the job is
    ready. With ``now``, a time ``at`` that is past makes the job ready. Without it the caller has no clock
    to compare with, and the job is SCHEDULED until the database finds it due. A ready job begins to wait
    now, unless it ``keeps_place``: then it waits since it first could start.
    """
    if at is not None:
        later = now is None or at > now
        return Admission(JobStatus.SCHEDULED if later else JobStatus.READY, at=at)
    if delay is not None and delay > 0:
        return Admission(JobStatus.SCHEDULED, delay=delay)
    return Admission(JobStatus.READY, delay=None if keeps_place else 0.0)
