"""The states of a job and the only moves between them."""

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

#: From a state to the states it may become, each with the verb that takes it there.
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
