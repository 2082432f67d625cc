from django.db import models
from django.utils.translation import gettext_lazy as _

from ..lifecycle.outcome import AttemptOutcome
from .job import Job


class Attempt(models.Model):
    """One run of a job, recorded when it ended badly or was not the only one."""

    #: Without a constraint in the database, which would query this table for each pruned job, and without an
    #: index beside that of the job and its fence.
    job = models.ForeignKey(Job, models.CASCADE, db_constraint=False, db_index=False, verbose_name=_("job"))
    number = models.IntegerField(_("number"))
    fence = models.IntegerField(_("fence"))
    worker_id = models.UUIDField(_("worker"), null=True, blank=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=AttemptOutcome.choices)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"))
    duration = models.FloatField(_("seconds run"), null=True, blank=True)
    exit_status = models.SmallIntegerField(_("exit status of the process"), null=True, blank=True)
    error_code = models.CharField(_("error code"), max_length=64, default="", blank=True)
    exception_class = models.CharField(_("exception"), max_length=600, default="", blank=True)
    message = models.TextField(_("message"), default="", blank=True)
    #: What a ``TaskFailure`` carried, as JSON.
    data = models.TextField(_("error data"), null=True, blank=True)
    traceback = models.TextField(_("traceback"), default="", blank=True)

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ()  # shown with its job
        ordering = ("fence",)
        constraints = [
            models.UniqueConstraint(fields=["job", "fence"], name="dtq_attempt_job_fence"),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.outcome}"
