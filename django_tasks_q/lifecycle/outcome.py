"""How an attempt ended, as one value on its way from the code that ran it to the row it belongs to."""

from __future__ import annotations

from contextvars import Context
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from ..exceptions import NO_REASON, AttemptCrashed, WorkerLost
from ..payload.codec import printable
from .admission import Admission, admit
from .retry import class_path
from .states import FINAL, JobStatus

#: Error codes of jobs that end without an attempt of their own saying why.
CANCELLED = "CANCELLED"
EXPIRED = "EXPIRED"


class AttemptOutcome(TextChoices):
    """What the record of an attempt says of its end."""

    SUCCESSFUL = "successful", _("Successful")
    FAILED = "failed", _("Failed")
    TIMEOUT = "timeout", _("Timed out")
    CRASHED = "crashed", _("Crashed")
    LOST = "lost", _("Lost with its worker")
    RESCUED = "rescued", _("Rescued")
    RELEASED = "released", _("Given back")
    SNOOZED = "snoozed", _("Snoozed")
    CANCELLED = "cancelled", _("Cancelled")


#: What counts neither as an attempt nor as a crash.
UNCOUNTED = frozenset({AttemptOutcome.RESCUED, AttemptOutcome.RELEASED, AttemptOutcome.SNOOZED})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed, as text that every database stores."""

    code: str
    exception_class: str
    message: str
    traceback: str
    #: How the process ended that ran the attempt: its exit status, or a signal's number as a negative one.
    exit_status: int | None = None
    #: The data of a TaskFailure, as JSON.
    data: str | None = None

    @classmethod
    def of(
        cls,
        exception: BaseException,
        code: str,
        traceback: str = "",
        exit_status: int | None = None,
        data: str | None = None,
    ) -> Failure:
        try:
            message = str(exception)
        except BaseException as error:
            message = f"<{type(exception).__name__} whose text cannot be made: {type(error).__name__}>"
        return cls(
            code=code,
            exception_class=printable(class_path(type(exception)), 512),
            message=printable(message),
            traceback=printable(traceback),
            exit_status=exit_status,
            data=data,
        )


class Aftermath(NamedTuple):
    """What receivers of ``task_finished`` are given, and only the process has that ran the attempt."""

    #: What the attempt raised, if the outcome is a failure by it.
    exception: BaseException | None
    #: The attempt's context variables, as they were at its end.
    context: Context


class Outcome(NamedTuple):
    """One ending of one attempt: what to record, and the state the job goes to.

    ``delay`` is in seconds from now and only read when the job is SCHEDULED again. ``duration`` is
    how long user code ran, in seconds.
    """

    job_id: UUID
    fence: int
    kind: AttemptOutcome
    status: JobStatus
    result: str | None = None
    delay: float = 0.0
    duration: float | None = None
    failure: Failure | None = None
    #: Whether the attempt has completed its job in the task's transaction.
    is_written: bool = False
    #: Whether it is unknown if the transaction was committed in which the attempt completed its job.
    in_doubt: bool = False
    #: Set where receivers are called for the end of the job. It is not sent to other processes.
    aftermath: Aftermath | None = None

    @classmethod
    def successful(cls, job_id: UUID, fence: int, result: str, duration: float) -> Outcome:
        # By position, since this is what nearly all jobs come to.
        return cls(job_id, fence, AttemptOutcome.SUCCESSFUL, JobStatus.SUCCESSFUL, result, 0.0, duration)

    @classmethod
    def failed(
        cls,
        job_id: UUID,
        fence: int,
        failure: Failure,
        retry_after: float | None,
        duration: float | None,
        kind: AttemptOutcome = AttemptOutcome.FAILED,
    ) -> Outcome:
        """Return a failed attempt; the next starts ``retry_after`` seconds later, none if it is None."""
        status = JobStatus.FAILED if retry_after is None else admit(delay=retry_after).status
        return cls(
            job_id=job_id,
            fence=fence,
            kind=kind,
            status=status,
            delay=float(retry_after or 0.0),
            duration=duration,
            failure=failure,
        )

    @classmethod
    def crashed(
        cls,
        job_id: UUID,
        fence: int,
        error: AttemptCrashed,
        again: bool,
        poison: bool,
        duration: float | None = None,
        exit_status: int | None = None,
    ) -> Outcome:
        """Return an attempt whose process, or worker, is gone. A ``poison`` job has done that too often."""
        lost = isinstance(error, WorkerLost)
        code = "POISON" if poison else "WORKER_LOST" if lost else "CRASHED"
        return cls.failed(
            job_id,
            fence,
            Failure.of(error, code, exit_status=exit_status),
            0.0 if again and not poison else None,
            duration,
            AttemptOutcome.LOST if lost else AttemptOutcome.CRASHED,
        )

    @classmethod
    def released(
        cls, job_id: UUID, fence: int, duration: float | None = None, failure: Failure | None = None
    ) -> Outcome:
        """Return an attempt that does not count. ``duration`` is None if it never started."""
        return cls(
            job_id=job_id,
            fence=fence,
            kind=AttemptOutcome.RELEASED,
            status=admit().status,
            duration=duration,
            failure=failure,
        )

    @classmethod
    def rescued(cls, job_id: UUID, fence: int, failure: Failure) -> Outcome:
        """Return an attempt whose process or worker is gone and that is not known to have begun."""
        return cls(
            job_id=job_id,
            fence=fence,
            kind=AttemptOutcome.RESCUED,
            status=admit().status,
            failure=failure,
        )

    @classmethod
    def cancelled(cls, job_id: UUID, fence: int, failure: Failure, duration: float | None = None) -> Outcome:
        """Return an attempt that was cancelled, from outside or by the task. The job is not run again."""
        return cls(
            job_id=job_id,
            fence=fence,
            kind=AttemptOutcome.CANCELLED,
            status=JobStatus.CANCELLED,
            duration=duration,
            failure=failure,
        )

    @classmethod
    def snoozed(cls, job_id: UUID, fence: int, delay: float, duration: float) -> Outcome:
        """Return an attempt that raised Snooze, does not count, and is repeated in ``delay`` seconds."""
        return cls(
            job_id=job_id,
            fence=fence,
            kind=AttemptOutcome.SNOOZED,
            status=admit(delay=delay).status,
            delay=delay,
            duration=duration,
        )

    def again_in(self, delay: float) -> Outcome:
        """Return the same ending of a job that runs again, ``delay`` seconds from now."""
        return self._replace(status=admit(delay=delay).status, delay=delay)

    @property
    def admission(self) -> Admission | None:
        """How the job is admitted once more; None where it has ended. It keeps its place if it is ready."""
        return None if self.is_final else admit(delay=self.delay, keeps_place=True)

    @property
    def cancel_reason(self) -> str:
        """Why the task has cancelled its own job, as far as a column has room for it."""
        if self.kind is not AttemptOutcome.CANCELLED or self.failure is None:
            return ""
        return "" if self.failure.message == NO_REASON else self.failure.message[:255]

    @property
    def is_uncounted(self) -> bool:
        """Whether this run counts neither as an attempt nor as a crash."""
        return self.kind in UNCOUNTED

    @property
    def is_rescue(self) -> bool:
        """Whether this run counts as one of the job's ``rescues`` instead."""
        return self.kind is AttemptOutcome.RESCUED

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def attempt_counts(self) -> bool:
        """Whether this attempt uses up one of the task's ``max_attempts``."""
        return not self.is_uncounted and not self.is_crash

    @property
    def is_crash(self) -> bool:
        """Whether this attempt uses up one of the job's ``max_crashes`` instead."""
        return self.kind in (AttemptOutcome.CRASHED, AttemptOutcome.LOST)
