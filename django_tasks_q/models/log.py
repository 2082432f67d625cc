from django.db import models
from django.utils.translation import gettext_lazy as _

from .job import Job


class LogLine(models.Model):
    """One line that an attempt has logged, kept for tasks that ask for it."""

    #: Without a constraint in the database, which would query this table for each job that is pruned.
    job = models.ForeignKey(Job, models.CASCADE, db_constraint=False, verbose_name=_("job"))
    fence = models.IntegerField(_("fence"))
    level = models.SmallIntegerField(_("level"))
    logger = models.CharField(_("logger"), max_length=255)
    message = models.TextField(_("message"))
    created_at = models.DateTimeField(_("logged"))

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")
        default_permissions = ()  # shown with its job
        ordering = ("id",)

    def __str__(self) -> str:
        return self.message
