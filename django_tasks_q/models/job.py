from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from django.db import models
from django.db.models import Case, F, Value, When
from django.utils.translation import gettext_lazy as _

from ..lifecycle.states import FINAL, STARTABLE, JobStatus
from ..payload import codec
from .identifiers import uuid7
from .schedule import Firing

#: The order in which ready jobs are claimed: the most urgent first, and of equals the oldest. The indexes
#: of ready jobs end with it.
CLAIM_ORDER = ("-priority", "id")


class JobQuerySet(models.QuerySet["Job"]):
    def finished(self) -> Self:
        return self.filter(status__in=FINAL)

    def unfinished(self) -> Self:
        return self.exclude(status__in=FINAL)

    def in_claim_order(self, *before: str) -> Self:
        """Return the jobs in the order of a claim, after the order of the columns ``before``."""
        return self.order_by(*before, *CLAIM_ORDER)

    def retrying(self) -> Self:
        """Return the jobs that wait for another attempt after one that failed."""
        return self.filter(status=JobStatus.SCHEDULED, attempts__gt=0)

    def undismissed(self) -> Self:
        """Return failed jobs that have not been dismissed."""
        return self.filter(status=JobStatus.FAILED, dismissed_at__isnull=True)

    def tagged(self, tag: str) -> Self:
        """Return the jobs with a tag. It reads every job that the other filters leave."""
        return self.filter(tags__contains=codec.dumps(tag, what="tag"))

    def scheduled_by(self, name: str) -> Self:
        """Return the jobs that a schedule of that name has enqueued, as far as its records are kept."""
        firings = Firing._default_manager.filter(schedule__name=name, job_id__isnull=False)
        return self.filter(id__in=firings.values("job_id"))

    def without_payload(self) -> Self:
        """Return the jobs without arguments, options, results and metadata, which can be large."""
        return self.defer("arguments", "options", "result", "metadata")

    def with_reasons(self) -> Self:
        """Return the jobs without payload, except arguments that ``Job.told_reason`` searches for secrets."""
        arguments = Case(
            When(cancel_reason="", then=Value("")), default=F("arguments"), output_field=models.TextField()
        )
        return self.without_payload().annotate(reason_arguments=arguments)


class Job(models.Model):
    """One stored call of a task, from enqueue to its one final state."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    task_name = models.CharField(_("task"), max_length=255)
    queue_name = models.CharField(_("queue"), max_length=128)
    backend = models.CharField(_("backend"), max_length=128)
    priority = models.SmallIntegerField(_("priority"), default=0)
    status = models.CharField(_("status"), max_length=10, choices=JobStatus.choices, default=JobStatus.READY)
    run_after = models.DateTimeField(_("run after"), null=True, blank=True)

    # JSON as text: it goes through the worker as bytes, and comes back from every database exactly as
    # it was written (docs/adr/0003).
    arguments = models.TextField(_("arguments"))
    result = models.TextField(_("result"), null=True, blank=True)
    options = models.TextField(_("options"), default="", blank=True)
    #: A JSON list of words that people find the job by.
    tags = models.TextField(_("tags"), null=True, blank=True)
    #: A JSON object for the project's own use.
    metadata = models.TextField(_("metadata"), null=True, blank=True)
    #: The job whose attempt enqueued this one. No foreign key: it may be gone before.
    parent_id = models.UUIDField(_("enqueued by job"), null=True, blank=True)

    max_attempts = models.SmallIntegerField(_("attempts allowed"), default=1)
    timeout = models.FloatField(_("timeout in seconds"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    #: Seconds after its end at which the job is deleted, and its result cleared; null as the settings say.
    retention = models.FloatField(_("kept for seconds"), null=True, blank=True)
    result_ttl = models.FloatField(_("result kept for seconds"), null=True, blank=True)
    #: Grows with every claim; a write for an attempt must name the fence that attempt was given.
    fence = models.IntegerField(_("fence"), default=0)
    attempts = models.SmallIntegerField(_("attempts"), default=0)
    crashes = models.SmallIntegerField(_("crashes"), default=0)
    #: How often it was rescued from a lost worker without having begun, as far as known. This counts as
    #: nothing, but from some number on its attempts are marked.
    rescues = models.IntegerField(_("rescues"), default=0, db_default=0)
    #: The fence of an attempt that may begin at any moment: the mark is written before a child is given the
    #: job. It is null for most jobs, and void for any other fence than the row's, so that no claim clears it.
    begun_fence = models.IntegerField(_("begun under fence"), null=True, blank=True)
    worker_id = models.UUIDField(_("worker"), null=True, blank=True)

    enqueued_at = models.DateTimeField(_("enqueued"))
    started_at = models.DateTimeField(_("first started"), null=True, blank=True)
    last_attempted_at = models.DateTimeField(_("last started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    duration = models.FloatField(_("seconds run"), null=True, blank=True)
    error_code = models.CharField(_("error code"), max_length=64, default="", blank=True)
    #: Set when the cancellation has been requested. A running attempt is notified.
    cancel_requested_at = models.DateTimeField(_("cancellation asked for"), null=True, blank=True)
    # With a default in the database too: the release before inserts rows as well, and does not know it.
    cancel_reason = models.CharField(
        _("reason to cancel"), max_length=255, default="", db_default="", blank=True
    )

    #: Set when a person has dealt with the failure.
    dismissed_at = models.DateTimeField(_("dismissed"), null=True, blank=True)
    #: Set while the job is to be kept, however long ago it has ended.
    pinned_at = models.DateTimeField(_("pinned"), null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        # What the verbs of ``actions`` ask for, at every door.
        default_permissions = ("add", "change", "delete", "view")
        permissions = (
            ("enqueue_job", _("Can enqueue job of tasks that are open to it")),
            ("retry_job", _("Can retry job")),
            ("cancel_job", _("Can cancel job")),
            ("discard_job", _("Can discard job")),
            ("view_payload_job", _("Can view arguments, results and tracebacks of job")),
        )
        # Each holds the rows of one purpose and no others, so that scheduled and finished jobs cost a
        # claim nothing.
        indexes = [
            # The order of a claim, and nothing more: whatever is left to filter or to sort costs every claim.
            models.Index(
                fields=["backend", *CLAIM_ORDER],
                name="dtq_job_ready",
                condition=models.Q(status=JobStatus.READY),
            ),
            # The same for workers of some queues, which would else read past all jobs of the others.
            models.Index(
                fields=["backend", "queue_name", *CLAIM_ORDER],
                name="dtq_job_ready_in_queue",
                condition=models.Q(status=JobStatus.READY),
            ),
            # For the next ones of a backend that are due: another may have many that are due much later.
            models.Index(
                fields=["backend", "run_after"],
                name="dtq_job_scheduled",
                condition=models.Q(status=JobStatus.SCHEDULED),
            ),
            # For counts of the scheduled jobs in a queue.
            models.Index(
                fields=["backend", "queue_name", "run_after"],
                name="dtq_job_scheduled_in_queue",
                condition=models.Q(status=JobStatus.SCHEDULED),
            ),
            models.Index(
                fields=["worker_id"], name="dtq_job_running", condition=models.Q(status=JobStatus.RUNNING)
            ),
            models.Index(
                fields=["backend", "expires_at"],
                name="dtq_job_expiring",
                condition=models.Q(
                    expires_at__isnull=False,
                    status__in=STARTABLE,
                ),
            ),
            models.Index(
                fields=["worker_id"],
                name="dtq_job_cancelling",
                condition=models.Q(cancel_requested_at__isnull=False, status=JobStatus.RUNNING),
            ),
            # Pinned jobs are in none of these three. Jobs of some states, and those with their own retention,
            # are kept for longer than others: a search for old ones would otherwise read them all.
            models.Index(
                fields=["backend", "status", "finished_at"],
                name="dtq_job_finished",
                condition=models.Q(finished_at__isnull=False, retention__isnull=True, pinned_at__isnull=True),
            ),
            models.Index(
                fields=["backend", "retention", "finished_at"],
                name="dtq_job_retained",
                condition=models.Q(
                    finished_at__isnull=False, retention__isnull=False, pinned_at__isnull=True
                ),
            ),
            models.Index(
                fields=["backend", "result_ttl", "finished_at"],
                name="dtq_job_result_ttl",
                condition=models.Q(
                    finished_at__isnull=False,
                    result_ttl__isnull=False,
                    result__isnull=False,
                    pinned_at__isnull=True,
                ),
            ),
            # For lists of failures, which are few among the finished jobs.
            models.Index(fields=["id"], name="dtq_job_failed", condition=models.Q(status=JobStatus.FAILED)),
            models.Index(
                fields=["parent_id"], name="dtq_job_parent", condition=models.Q(parent_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_name} ({self.id})"

    @property
    def args(self) -> list[Any]:
        arguments: list[Any] = codec.loads(self.arguments)[0]
        return arguments

    @property
    def kwargs(self) -> dict[str, Any]:
        arguments: dict[str, Any] = codec.loads(self.arguments)[1]
        return arguments

    @property
    def return_value(self) -> Any:
        return None if self.result is None else codec.loads(self.result)

    @property
    def told_reason(self) -> str:
        """Why the job was cancelled, as it may be shown: the task may have put a secret into it."""
        if not self.cancel_reason:
            return ""
        # It needs the framework. Where that is missing the models still load, and a check names it.
        from ..definition.sensitive import secrets_of
        from ..payload.masking import redacted

        # Lists read the arguments only of jobs with a reason.
        stored = self.__dict__.get("reason_arguments") or self.arguments
        try:
            secrets = secrets_of(self.task_name, *codec.load_arguments(stored))
        except ValueError:
            return self.cancel_reason
        return redacted(self.cancel_reason, secrets, cut=255)

    def unreadable(self) -> dict[str, int]:
        """Of columns with JSON that cannot be read, how many characters they have: ``{"result": 12}``."""
        readers: dict[str, Callable[[str], Any]] = {"arguments": codec.load_arguments}
        found = {}
        for name in ("arguments", "result", "metadata", "tags"):
            if stored := getattr(self, name):
                try:
                    readers.get(name, codec.loads)(stored)
                except ValueError:
                    found[name] = len(stored)
        return found

    @property
    def is_finished(self) -> bool:
        return self.status in FINAL

    @property
    def is_retrying(self) -> bool:
        return self.status == JobStatus.SCHEDULED and self.runs > 0

    @property
    def runs(self) -> int:
        """How often the job was started, crashes included."""
        return self.attempts + self.crashes
