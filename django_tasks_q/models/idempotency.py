from django.db import models
from django.utils.translation import gettext_lazy as _


class IdempotencyKey(models.Model):
    """A request to enqueue with its key: the same request returns the same job again."""

    #: The user whose key it is: the same key of another user is another one.
    owner = models.CharField(_("owner"), max_length=255)
    key = models.CharField(_("key"), max_length=255)
    #: Of the task's name and the body.
    digest = models.CharField(_("digest"), max_length=64)
    #: Null within the transaction that enqueues the job. No foreign key: the job may be gone before.
    job_id = models.UUIDField(_("job"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_index=True)

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        default_permissions = ()  # never shown
        constraints = [
            models.UniqueConstraint(fields=["owner", "key"], name="dtq_idempotency_owner_key"),
        ]

    def __str__(self) -> str:
        return self.key
