"""The actions on jobs: their buttons, permissions and confirmations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from .. import actions
from ..models import Job
from .base import may


@dataclass(frozen=True)
class Verb:
    """An action, and the states of the jobs that it can change."""

    name: str
    label: Any
    question: Any
    codename: str
    states: frozenset[str]
    function: Callable[..., Any]
    #: The fields of the confirmation, by their names in ``forms.FIELDS``.
    fields: tuple[str, ...] = ("reason",)
    is_destructive: bool = False
    help: Any = ""

    def fits(self, job: Job) -> bool:
        """Return whether the action would change that job."""
        match self.name:
            case "pin":
                return job.pinned_at is None
            case "unpin":
                return job.pinned_at is not None
            case "dismiss":
                return job.status in self.states and job.dismissed_at is None
            case "cancel":
                return job.status in self.states and job.cancel_requested_at is None
        return job.status in self.states


def _verb(name: str, question: Any, **more: Any) -> Verb:
    named = actions.NAMED[name]
    states: frozenset[str] = frozenset(named.states)
    return Verb(name, named.label, question, named.codename, states, named.function, **more)


VERBS = {
    verb.name: verb
    for verb in (
        _verb(
            "retry",
            ngettext_lazy("Retry %(count)s job?", "Retry %(count)s jobs?", "count"),
            fields=("at", "reason"),
            help=_("The count of attempts starts again. The records of earlier attempts stay."),
        ),
        _verb(
            "run_now",
            ngettext_lazy("Run %(count)s job now?", "Run %(count)s jobs now?", "count"),
            help=_("The jobs become ready now, before their scheduled time."),
        ),
        _verb(
            "reschedule",
            ngettext_lazy("Reschedule %(count)s job?", "Reschedule %(count)s jobs?", "count"),
            fields=("moment", "reason"),
        ),
        _verb(
            "change",
            ngettext_lazy("Change %(count)s job?", "Change %(count)s jobs?", "count"),
            fields=("priority", "queue_name", "reason"),
        ),
        _verb(
            "cancel",
            ngettext_lazy("Cancel %(count)s job?", "Cancel %(count)s jobs?", "count"),
            is_destructive=True,
            help=_(
                "Waiting jobs are cancelled at once. Running jobs are asked to stop; "
                "the outcome of a job that ends first is kept."
            ),
        ),
        _verb(
            "discard",
            ngettext_lazy("Discard %(count)s job?", "Discard %(count)s jobs?", "count"),
            is_destructive=True,
            help=_("Waiting jobs are cancelled. Running jobs are not changed."),
        ),
        _verb(
            "dismiss",
            ngettext_lazy("Dismiss %(count)s failure?", "Dismiss %(count)s failures?", "count"),
            help=_("The jobs are not changed. They are no longer listed as open failures."),
        ),
        _verb(
            "pin",
            ngettext_lazy("Keep %(count)s job?", "Keep %(count)s jobs?", "count"),
            help=_("The jobs are not deleted when their retention period ends."),
        ),
        _verb(
            "unpin",
            ngettext_lazy("Stop keeping %(count)s job?", "Stop keeping %(count)s jobs?", "count"),
        ),
        _verb(
            "delete",
            ngettext_lazy("Delete %(count)s job?", "Delete %(count)s jobs?", "count"),
            is_destructive=True,
            help=_("Their attempts, progress and log lines are deleted too. This cannot be undone."),
        ),
    )
}
#: The actions that are offered for several jobs at a time.
BULK = ("retry", "run_now", "cancel", "discard", "dismiss", "pin", "unpin", "delete")


def offered(request: HttpRequest, names: Iterable[str] = tuple(VERBS)) -> list[Verb]:
    """Return the actions that the user may use."""
    return [VERBS[name] for name in names if may(request, VERBS[name].codename)]
