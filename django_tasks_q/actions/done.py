"""What actions return."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple
from uuid import UUID

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from ..definition.result import TaskResult
from ..lifecycle.states import FINAL, JobStatus


class Reason(TextChoices):
    """Why an action has skipped something."""

    GONE = "gone", _("is gone")
    WAITING = "waiting", _("is waiting")
    RUNNING = "running", _("is running")
    ENDED = "ended", _("has ended")
    SUCCEEDED = "succeeded", _("has succeeded")
    UNCHANGED = "unchanged", _("is like that already")
    UNKNOWN = "unknown", _("is in a state that another release has stored")
    OTHERS = "others", _("is another user's request")


#: The ids of what was skipped, by the reason.
Skipped = dict[Reason, set[UUID]]


class Done(NamedTuple):
    """The ids of what an action has changed, and of what it has skipped."""

    done: set[UUID]
    skipped: Skipped


class CancelDone(NamedTuple):
    """The ids of jobs that are cancelled, of running jobs that are asked to end, and of those skipped."""

    done: set[UUID]
    requested: set[UUID]
    skipped: Skipped


class Again(NamedTuple):
    """The id of the job that was copied, and the result of the new job."""

    done: set[UUID]
    skipped: Skipped
    result: TaskResult[..., object] | None


class Matching(NamedTuple):
    """The ids of matching jobs, and whether there are more."""

    ids: list[UUID]
    more: bool


def skipped(ids: Collection[UUID], others: Mapping[UUID, str], start: Collection[JobStatus]) -> Skipped:
    """Return why jobs were skipped by an action for jobs in the states ``start``.

    ``others`` has the stored state of each job that still exists.
    """
    found: Skipped = defaultdict(set)
    for id in ids:
        found[_reason(others.get(id), start)].add(id)
    return dict(found)


def _reason(status: str | None, start: Collection[JobStatus]) -> Reason:
    if status is None:
        return Reason.GONE
    if status not in JobStatus.values:
        return Reason.UNKNOWN
    if status in start:
        return Reason.UNCHANGED
    if status == JobStatus.RUNNING:
        return Reason.RUNNING
    if status not in FINAL:
        return Reason.WAITING
    # An action for jobs that have ended does not skip a job because it has ended.
    return Reason.SUCCEEDED if FINAL.intersection(start) and status == JobStatus.SUCCESSFUL else Reason.ENDED
