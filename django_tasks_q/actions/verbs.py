"""The actions on jobs by name, with their permissions: the only ones that a request may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from ..lifecycle.states import FINAL, STARTABLE, JobStatus
from ..storage.orm.operations import DISMISSIBLE, MOVABLE, RETRYABLE
from .cancellation import cancel, discard, dismiss
from .rescheduling import change, reschedule, run_now
from .retention import delete, pin, unpin
from .retries import retry

EVERY = tuple(JobStatus)


@dataclass(frozen=True)
class Named:
    """An action that takes any number of ids."""

    function: Callable[..., Any]
    label: Any
    #: The permission of the model Job that the admin and the REST API require for it.
    codename: str
    #: The states in which it changes a job.
    states: tuple[JobStatus, ...]
    #: The arguments that it takes besides a reason.
    takes: tuple[str, ...] = ()


NAMED = {
    "retry": Named(retry, _("Retry"), "retry_job", RETRYABLE, ("at",)),
    "run_now": Named(run_now, _("Run now"), "change_job", (JobStatus.SCHEDULED,)),
    "reschedule": Named(reschedule, _("Reschedule"), "change_job", MOVABLE, ("at",)),
    "change": Named(
        change, _("Change priority or queue"), "change_job", tuple(STARTABLE), ("priority", "queue_name")
    ),
    "cancel": Named(cancel, _("Cancel"), "cancel_job", (*STARTABLE, JobStatus.RUNNING)),
    "discard": Named(discard, _("Discard"), "discard_job", tuple(STARTABLE)),
    "dismiss": Named(dismiss, _("Dismiss"), "discard_job", DISMISSIBLE),
    "pin": Named(pin, _("Keep"), "change_job", EVERY),
    "unpin": Named(unpin, _("Stop keeping"), "change_job", EVERY),
    "delete": Named(delete, _("Delete"), "delete_job", tuple(FINAL)),
}
