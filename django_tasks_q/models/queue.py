from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Queue(models.Model):
    """The state of a queue that was paused or limited. A queue without a row is neither."""

    backend = models.CharField(_("backend"), max_length=128)
    name = models.CharField(_("name"), max_length=128)
    paused_at = models.DateTimeField(_("paused"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=255, default="", db_default="", blank=True)
    pause_reason = models.CharField(
        _("reason to pause"), max_length=255, default="", db_default="", blank=True
    )
    #: When the pause ends by itself; null for never.
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    #: Most jobs of the queue that run at a time, over all workers; null for no limit.
    max_running = models.IntegerField(_("jobs at a time"), null=True, blank=True)
    #: Grows with every claim under the limit, so that two of them cannot miss each other.
    turn = models.BigIntegerField(_("claims"), default=0, db_default=0, editable=False)

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        default_permissions = ("change", "view")
        permissions = (("pause_queue", _("Can pause queue")),)
        constraints = [
            models.UniqueConstraint(fields=["backend", "name"], name="dtq_queue_backend_name"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None and (
            self.paused_until is None or self.paused_until > timezone.now()
        )
