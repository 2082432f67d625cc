from __future__ import annotations

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..payload import codec


def names_in(stored: str | None) -> list[str] | None:
    """Return the names of queues that a worker has stored; None for what is no list."""
    try:
        found = codec.loads(stored or "[]")
    except ValueError:
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


class Worker(models.Model):
    """One boot of ``runworker``. Its jobs are its own for as long as its lease lasts."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=255)
    hostname = models.CharField(_("host"), max_length=255)
    pid = models.IntegerField(_("process id"))
    backend = models.CharField(_("backend"), max_length=128)
    queues = models.TextField(_("queues"), default="[]")
    exclude_queues = models.TextField(_("queues left out"), null=True, blank=True)
    processes = models.SmallIntegerField(_("processes"))
    threads = models.SmallIntegerField(_("threads"), default=0, db_default=0)
    async_concurrency = models.IntegerField(_("coroutines at a time"), default=0, db_default=0)
    version = models.CharField(_("version"), max_length=32)
    started_at = models.DateTimeField(_("started"))
    heartbeat_at = models.DateTimeField(_("last heartbeat"))
    lease_expires_at = models.DateTimeField(_("lease expires"))
    #: As of the last heartbeat: claimed jobs without an end, and the bytes of the worker and its children.
    running_jobs = models.IntegerField(_("jobs at hand"), default=0, db_default=0)
    memory = models.BigIntegerField(_("bytes of memory"), null=True, blank=True)
    #: Set when the worker is to end. It reads this within a heartbeat.
    stop_requested_at = models.DateTimeField(_("stop asked for"), null=True, blank=True)
    stopped_at = models.DateTimeField(_("stopped"), null=True, blank=True)

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)
        permissions = (("stop_worker", _("Can stop worker")),)

    def __str__(self) -> str:
        return self.name
