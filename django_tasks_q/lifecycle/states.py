"""The states of a job, the transitions between them, and the check that every write asks."""

from collections.abc import Collection

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class JobStatus(TextChoices):
    READY = "READY", _("Ready")
    SCHEDULED = "SCHEDULED", _("Scheduled")
    WAITING = "WAITING", _("Waiting")
    RUNNING = "RUNNING", _("Running")
    SUCCESSFUL = "SUCCESSFUL", _("Successful")
    FAILED = "FAILED", _("Failed")
    CANCELLED = "CANCELLED", _("Cancelled")
    EXPIRED = "EXPIRED", _("Expired")


def label_of(status: str) -> str:
    """Return what a stored state is called for people.

    A newer release may have stored one that is unknown here: it is called by its own name.
    """
    return str(JobStatus(status).label) if status in JobStatus.values else status


#: A job in one of these stays there until a person retries it or it is pruned.
FINAL = frozenset({JobStatus.SUCCESSFUL, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED})

#: A job in one of these has yet to be started, for the first time or again.
STARTABLE = (JobStatus.READY, JobStatus.SCHEDULED, JobStatus.WAITING)

#: From each state to the states that may follow it, each with the verbs that make the transition.
TRANSITIONS: dict[JobStatus, dict[JobStatus, str]] = {
    JobStatus.SCHEDULED: {
        JobStatus.READY: "promote, run now, reschedule",
        JobStatus.CANCELLED: "cancel, discard",
        JobStatus.EXPIRED: "expire",
    },
    JobStatus.WAITING: {
        JobStatus.READY: "admit",
        JobStatus.CANCELLED: "cancel, discard",
        JobStatus.EXPIRED: "expire",
    },
    JobStatus.READY: {
        JobStatus.RUNNING: "claim",
        JobStatus.SCHEDULED: "reschedule",
        JobStatus.CANCELLED: "cancel, discard",
        JobStatus.EXPIRED: "expire",
    },
    JobStatus.RUNNING: {
        JobStatus.SUCCESSFUL: "finish",
        JobStatus.FAILED: "finish",
        JobStatus.CANCELLED: "cancel",
        JobStatus.SCHEDULED: "retry later",
        JobStatus.READY: "retry now, release, rescue",
    },
    JobStatus.FAILED: {JobStatus.READY: "retry", JobStatus.SCHEDULED: "retry"},
    JobStatus.CANCELLED: {JobStatus.READY: "retry", JobStatus.SCHEDULED: "retry"},
    JobStatus.EXPIRED: {JobStatus.READY: "retry", JobStatus.SCHEDULED: "retry"},
    JobStatus.SUCCESSFUL: {},
}

#: Whether a write that asks for an illegal transition raises IllegalTransition. The package's own tests set
#: it. Otherwise the write is refused: the job stays as it is.
is_strict = False


class IllegalTransition(Exception):
    """A write asked for a transition that is not in ``TRANSITIONS``."""


def is_legal(old: JobStatus, new: JobStatus) -> bool:
    """Return whether a job may go from one state to another.

    If ``is_strict``, raise IllegalTransition instead.
    """
    if new in TRANSITIONS[old]:
        return True
    if is_strict:
        raise IllegalTransition(f"A job may not go from {old.value} to {new.value}.")
    return False


def legal_sources(start: Collection[JobStatus], new: JobStatus) -> list[JobStatus]:
    """Return those states of ``start`` that a write may lead to ``new``, for the condition of the write.

    A job that is in ``new`` already may stay in it. Raise IllegalTransition for any other if strict.
    """
    return [old for old in start if old == new or is_legal(old, new)]


def require(old: JobStatus, new: JobStatus) -> None:
    """Raise IllegalTransition unless the transition is legal, for statements that have it in their text."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"A job may not go from {old.value} to {new.value}.")
