"""The actions on jobs by name, with their permissions: the only ones that a request may name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..lifecycle.states import FINAL, STARTABLE, JobStatus
from ..models.job import JobQuerySet
from ..storage.orm.operations import (
    DISMISSIBLE,
    MOVABLE,
    PINNED,
    RETRYABLE,
    UNASKED,
    UNDISMISSED,
    UNPINNED,
    with_others,
)
from .cancellation import cancel, discard, dismiss
from .rescheduling import change, reschedule, run_now, starting_otherwise
from .retention import delete, pin, unpin
from .retries import retry

EVERY = tuple(JobStatus)


def _everything(**values: Any) -> Q:
    return Q()


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
    #: Return the condition of the jobs that it has yet to change, for the arguments that it takes.
    left: Callable[..., Q] = _everything

    def pending(self, jobs: JobQuerySet, **values: Any) -> JobQuerySet:
        """Return the jobs of a query without those that are as the action would leave them.

        A call of the action for the jobs found is repeated for the next ones, until no job is left.
        Arguments that are not known yet may be left out.
        """
        left = self.left(**{name: values[name] for name in self.takes if name in values})
        return jobs.filter(left) if left else jobs


NAMED = {
    "retry": Named(retry, _("Retry"), "retry_job", RETRYABLE, ("at",)),
    "run_now": Named(run_now, _("Run now"), "change_job", (JobStatus.SCHEDULED,)),
    "reschedule": Named(reschedule, _("Reschedule"), "change_job", MOVABLE, ("at",), starting_otherwise),
    "change": Named(
        change,
        _("Change priority or queue"),
        "change_job",
        tuple(STARTABLE),
        ("priority", "queue_name"),
        with_others,
    ),
    "cancel": Named(cancel, _("Cancel"), "cancel_job", (*STARTABLE, JobStatus.RUNNING), left=lambda: UNASKED),
    "discard": Named(discard, _("Discard"), "discard_job", tuple(STARTABLE)),
    "dismiss": Named(dismiss, _("Dismiss"), "discard_job", DISMISSIBLE, left=lambda: UNDISMISSED),
    "pin": Named(pin, _("Keep"), "change_job", EVERY, left=lambda: UNPINNED),
    "unpin": Named(unpin, _("Stop keeping"), "change_job", EVERY, left=lambda: PINNED),
    "delete": Named(delete, _("Delete"), "delete_job", tuple(FINAL)),
}
