from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..payload import codec
from ..timing import TOLERANCE, Timing, stored_timing


class Origin(models.TextChoices):
    """Where a schedule is defined, which is where it is edited."""

    CODE = "code", _("code")
    DATABASE = "database", _("database")


class Kind(models.TextChoices):
    CRON = "cron", _("cron expression")
    EVERY = "every", _("interval in seconds")


class MissedPolicy(models.TextChoices):
    SKIP = "skip", _("skip them")
    ONE = "one", _("make up for the latest")
    ALL = "all", _("make up for all")


class OverlapPolicy(models.TextChoices):
    ALLOW = "allow", _("enqueue all the same")
    SKIP = "skip", _("skip")


class Outcome(models.TextChoices):
    """What became of a tick."""

    FIRED = "fired", _("fired")
    MANUAL = "manual", _("run by hand")
    OVERLAP = "overlap", _("skipped: the job before has not ended")
    MISSED = "missed", _("missed")
    SKIPPED = "skipped", _("skipped by hand")
    FAILED = "failed", _("could not be enqueued")


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def active(self) -> Self:
        """Return those that fire."""
        return self.filter(enabled=True, retired_at__isnull=True, next_at__isnull=False)

    def wanted(self) -> Self:
        """Return those that are to fire, also the ones that have no next time although they should."""
        return self.filter(enabled=True, retired_at__isnull=True)

    def late(self) -> Self:
        """Return those that should have fired and did not, or have no next time."""
        due = models.Q(next_at__lt=timezone.now() - timedelta(seconds=TOLERANCE))
        return self.wanted().filter(due | models.Q(next_at__isnull=True))


class Schedule(models.Model):
    """What enqueues a task at times."""

    backend = models.CharField(_("backend"), max_length=128)
    name = models.CharField(_("name"), max_length=128)
    origin = models.CharField(_("defined in"), max_length=8, choices=Origin.choices)
    task_name = models.CharField(_("task"), max_length=255)
    #: As a job has them: JSON as text.
    arguments = models.TextField(_("arguments"), default="[[],{}]")
    #: Of schedules defined in the database; empty and null as the task says.
    queue_name = models.CharField(_("queue"), max_length=128, default="", blank=True)
    priority = models.SmallIntegerField(_("priority"), null=True, blank=True)
    kind = models.CharField(_("kind"), max_length=5, choices=Kind.choices, default=Kind.CRON)
    expression = models.CharField(_("expression"), max_length=255)
    timezone = models.CharField(_("time zone"), max_length=64, default="UTC")
    missed = models.CharField(
        _("missed times"), max_length=4, choices=MissedPolicy.choices, default=MissedPolicy.ONE
    )
    overlap = models.CharField(
        _("while the job before runs"),
        max_length=5,
        choices=OverlapPolicy.choices,
        default=OverlapPolicy.ALLOW,
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    disabled_at = models.DateTimeField(_("disabled"), null=True, blank=True)
    disabled_by = models.CharField(_("disabled by"), max_length=255, default="", blank=True)
    disable_reason = models.CharField(_("reason to disable"), max_length=255, default="", blank=True)
    #: Set when the code does not declare it any more.
    retired_at = models.DateTimeField(_("gone from the code"), null=True, blank=True)
    #: The worker that declares a schedule of the code, and when it began to. Others that do as well take over
    #: when its lease is over.
    declared_by = models.UUIDField(_("declared by worker"), null=True, blank=True)
    declared_at = models.DateTimeField(_("declared"), null=True, blank=True)
    #: Null while it does not fire.
    next_at = models.DateTimeField(_("next"), null=True, blank=True)
    #: The latest tick that became a job.
    last_at = models.DateTimeField(_("last"), null=True, blank=True)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        permissions = (
            ("enable_schedule", _("Can enable and disable schedule")),
            ("run_schedule", _("Can run schedule now and skip its next run")),
        )
        constraints = [
            models.UniqueConstraint(fields=["backend", "name"], name="dtq_schedule_backend_name"),
        ]
        indexes = [models.Index(fields=["backend", "next_at"], name="dtq_schedule_next")]

    def __str__(self) -> str:
        return self.name

    @property
    def timing(self) -> Timing:
        """Raises ValueError for an expression that this release cannot read."""
        return stored_timing(self.kind, self.expression, self.timezone)

    @property
    def args(self) -> list[Any]:
        arguments: list[Any] = codec.loads(self.arguments)[0]
        return arguments

    @property
    def kwargs(self) -> dict[str, Any]:
        arguments: dict[str, Any] = codec.loads(self.arguments)[1]
        return arguments

    @property
    def fires(self) -> bool:
        return self.enabled and self.retired_at is None

    @property
    def is_stuck(self) -> bool:
        """Whether it is to fire and has no next time, which no worker gives it by itself."""
        return self.fires and self.next_at is None

    @property
    def is_late(self) -> bool:
        return self.fires and (
            self.next_at is None or self.next_at < timezone.now() - timedelta(seconds=TOLERANCE)
        )


class Firing(models.Model):
    """What became of one tick of a schedule. No tick is there twice, which is what makes it fire once."""

    schedule = models.ForeignKey(
        Schedule, models.CASCADE, related_name="firings", verbose_name=_("schedule"), db_index=False
    )
    tick = models.DateTimeField(_("time"))
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome.choices)
    #: No foreign key: the job may be gone before.
    job_id = models.UUIDField(_("job"), null=True, blank=True, db_index=True)
    reason = models.CharField(_("reason"), max_length=255, default="", blank=True)
    fired_at = models.DateTimeField(_("fired"), db_index=True)

    class Meta:
        # Explicit, so that a missing INSTALLED_APPS entry is met by a check and not by an import error.
        app_label = "django_tasks_q"
        verbose_name = _("firing")
        verbose_name_plural = _("firings")
        default_permissions = ()  # shown with the schedule
        constraints = [
            models.UniqueConstraint(fields=["schedule", "tick"], name="dtq_firing_schedule_tick"),
        ]

    def __str__(self) -> str:
        return f"{self.tick:%Y-%m-%d %H:%M:%S}"
