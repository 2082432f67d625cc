import math

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..validation import plain
from .job import Job


class Progress(models.Model):
    """The progress of a job, as its last attempt sent it. Apart from the job, whose row is written often."""

    #: Without a constraint in the database, which would query this table for each job that is pruned.
    job = models.OneToOneField(
        Job, models.CASCADE, primary_key=True, db_constraint=False, verbose_name=_("job")
    )
    fence = models.IntegerField(_("fence"))
    current = models.FloatField(_("done"), default=0)
    total = models.FloatField(_("of"), null=True, blank=True)
    message = models.CharField(_("message"), max_length=255, default="", blank=True)
    #: The value that a generator yielded last, as JSON.
    value = models.TextField(_("value"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"))

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("progress")
        verbose_name_plural = _("progress")
        default_permissions = ()  # shown with its job

    def __str__(self) -> str:
        return "/".join(plain(number) for number in (self.current, self.total) if number is not None)

    @property
    def share(self) -> float | None:
        """Between 0 and 1; None without a total."""
        if not self.total or not math.isfinite(self.current) or not math.isfinite(self.total):
            return None
        return min(1.0, max(0.0, self.current / self.total))
