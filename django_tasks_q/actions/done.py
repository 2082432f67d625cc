"""What verbs answer."""

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
    """Why a verb has left something alone."""

    GONE = "gone", _("is gone")
    WAITING = "waiting", _("is waiting")
    RUNNING = "running", _("is running")
    ENDED = "ended", _("has ended")
    SUCCEEDED = "succeeded", _("has succeeded")
    UNCHANGED = "unchanged", _("is like that already")
    UNKNOWN = "unknown", _("is in a state that another release has stored")
    OTHERS = "others", _("is another user's request")


#: Ids of what was left alone, by the reason.
Skipped = dict[Reason, set[UUID]]


class Done(NamedTuple):
    """The ids of what a verb has changed, and of what it has not."""

    done: set[UUID]
    skipped: Skipped


class CancelDone(NamedTuple):
    """The jobs that are cancelled now, those whose running attempt will be told, and the others."""

    done: set[UUID]
    requested: set[UUID]
    skipped: Skipped


class Again(NamedTuple):
    """The job that was copied, and the new one's result."""

    done: set[UUID]
    skipped: Skipped
    result: TaskResult[..., object] | None


class Matching(NamedTuple):
    """Ids of jobs, and whether there are more of that kind."""

    ids: list[UUID]
    more: bool


def skipped(ids: Collection[UUID], others: Mapping[UUID, str], start: Collection[JobStatus]) -> Skipped:
    """Why jobs were left alone: their states, for a verb that takes those in ``start``."""
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
    # "Has ended" is no reason for a verb that is about jobs that have.
    return Reason.SUCCEEDED if FINAL.intersection(start) and status == JobStatus.SUCCESSFUL else Reason.ENDED
