import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0007_enqueue_permission"),
    ]

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend", models.CharField(max_length=128, verbose_name="backend")),
                ("name", models.CharField(max_length=128, verbose_name="name")),
                (
                    "origin",
                    models.CharField(
                        choices=[("code", "code"), ("database", "database")],
                        max_length=8,
                        verbose_name="defined in",
                    ),
                ),
                ("task_name", models.CharField(max_length=255, verbose_name="task")),
                ("arguments", models.TextField(default="[[],{}]", verbose_name="arguments")),
                (
                    "queue_name",
                    models.CharField(blank=True, default="", max_length=128, verbose_name="queue"),
                ),
                ("priority", models.SmallIntegerField(blank=True, null=True, verbose_name="priority")),
                (
                    "kind",
                    models.CharField(
                        choices=[("cron", "cron expression"), ("every", "interval in seconds")],
                        default="cron",
                        max_length=5,
                        verbose_name="kind",
                    ),
                ),
                ("expression", models.CharField(max_length=255, verbose_name="expression")),
                ("timezone", models.CharField(default="UTC", max_length=64, verbose_name="time zone")),
                (
                    "missed",
                    models.CharField(
                        choices=[
                            ("skip", "skip them"),
                            ("one", "make up for the latest"),
                            ("all", "make up for all"),
                        ],
                        default="one",
                        max_length=4,
                        verbose_name="missed times",
                    ),
                ),
                (
                    "overlap",
                    models.CharField(
                        choices=[("allow", "enqueue all the same"), ("skip", "skip")],
                        default="allow",
                        max_length=5,
                        verbose_name="while the job before runs",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("disabled_at", models.DateTimeField(blank=True, null=True, verbose_name="disabled")),
                (
                    "disabled_by",
                    models.CharField(blank=True, default="", max_length=255, verbose_name="disabled by"),
                ),
                (
                    "disable_reason",
                    models.CharField(
                        blank=True, default="", max_length=255, verbose_name="reason to disable"
                    ),
                ),
                (
                    "retired_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="gone from the code"),
                ),
                ("next_at", models.DateTimeField(blank=True, null=True, verbose_name="next")),
                ("last_at", models.DateTimeField(blank=True, null=True, verbose_name="last")),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
                "permissions": (
                    ("enable_schedule", "Can enable and disable schedule"),
                    ("run_schedule", "Can run schedule now and skip its next run"),
                ),
                "indexes": [models.Index(fields=["backend", "next_at"], name="dtq_schedule_next")],
                "constraints": [
                    models.UniqueConstraint(fields=("backend", "name"), name="dtq_schedule_backend_name")
                ],
            },
        ),
        migrations.CreateModel(
            name="Firing",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tick", models.DateTimeField(verbose_name="time")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("fired", "fired"),
                            ("manual", "run by hand"),
                            ("overlap", "skipped: the job before has not ended"),
                            ("missed", "missed"),
                            ("skipped", "skipped by hand"),
                            ("failed", "could not be enqueued"),
                        ],
                        max_length=8,
                        verbose_name="outcome",
                    ),
                ),
                ("job_id", models.UUIDField(blank=True, db_index=True, null=True, verbose_name="job")),
                ("reason", models.CharField(blank=True, default="", max_length=255, verbose_name="reason")),
                ("fired_at", models.DateTimeField(db_index=True, verbose_name="fired")),
                (
                    "schedule",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="firings",
                        to="django_tasks_q.schedule",
                        verbose_name="schedule",
                    ),
                ),
            ],
            options={
                "verbose_name": "firing",
                "verbose_name_plural": "firings",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("schedule", "tick"), name="dtq_firing_schedule_tick")
                ],
            },
        ),
    ]
