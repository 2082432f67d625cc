import uuid
from typing import Any

import django.db.models.deletion
from django.db import migrations, models

import django_tasks_q.models.identifiers

# Rows are rewritten twice within seconds. Free space on their pages keeps the new versions near, and vacuum has
# to follow the number of dead rows: a share of a table that also holds the jobs that have ended is far too many.
POSTGRESQL = """
ALTER TABLE django_tasks_q_job SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 10000
)
"""
# MySQL and MariaDB have no partial indexes: Django makes whole ones there, in which jobs that have ended lie
# between those that are searched for. With the state as a column of the index they do not.
MYSQL = {
    "dtq_job_ready": "backend, status, priority DESC, id",
    "dtq_job_ready_in_queue": "backend, status, queue_name, priority DESC, id",
    "dtq_job_scheduled": "backend, status, run_after",
    "dtq_job_expiring": "backend, status, expires_at",
    "dtq_job_scheduled_in_queue": "backend, status, queue_name, run_after",
    "dtq_job_running": "status, worker_id",
    "dtq_job_failed": "status, id",
}


def tune(apps: Any, schema_editor: Any) -> None:
    match schema_editor.connection.vendor:
        case "postgresql":
            schema_editor.execute(POSTGRESQL)
        case "mysql":
            for name, columns in MYSQL.items():
                schema_editor.execute(f"DROP INDEX {name} ON django_tasks_q_job")
                schema_editor.execute(f"CREATE INDEX {name} ON django_tasks_q_job ({columns})")


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.IntegerField(verbose_name="number")),
                ("fence", models.IntegerField(verbose_name="fence")),
                ("worker_id", models.UUIDField(blank=True, null=True, verbose_name="worker")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("successful", "Successful"),
                            ("failed", "Failed"),
                            ("timeout", "Timed out"),
                            ("crashed", "Crashed"),
                            ("lost", "Lost with its worker"),
                            ("rescued", "Rescued"),
                            ("released", "Given back"),
                            ("snoozed", "Snoozed"),
                            ("cancelled", "Cancelled"),
                        ],
                        max_length=16,
                        verbose_name="outcome",
                    ),
                ),
                ("started_at", models.DateTimeField(blank=True, null=True, verbose_name="started")),
                ("finished_at", models.DateTimeField(verbose_name="finished")),
                ("duration", models.FloatField(blank=True, null=True, verbose_name="seconds run")),
                (
                    "exit_status",
                    models.SmallIntegerField(
                        blank=True, null=True, verbose_name="exit status of the process"
                    ),
                ),
                (
                    "error_code",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="error code"),
                ),
                (
                    "exception_class",
                    models.CharField(blank=True, default="", max_length=600, verbose_name="exception"),
                ),
                ("message", models.TextField(blank=True, default="", verbose_name="message")),
                ("data", models.TextField(blank=True, null=True, verbose_name="error data")),
                ("traceback", models.TextField(blank=True, default="", verbose_name="traceback")),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "ordering": ("fence",),
                "default_permissions": (),
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
            ],
            options={
                "verbose_name": "firing",
                "verbose_name_plural": "firings",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=django_tasks_q.models.identifiers.uuid7,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("task_name", models.CharField(max_length=255, verbose_name="task")),
                ("queue_name", models.CharField(max_length=128, verbose_name="queue")),
                ("backend", models.CharField(max_length=128, verbose_name="backend")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("READY", "Ready"),
                            ("SCHEDULED", "Scheduled"),
                            ("WAITING", "Waiting"),
                            ("RUNNING", "Running"),
                            ("SUCCESSFUL", "Successful"),
                            ("FAILED", "Failed"),
                            ("CANCELLED", "Cancelled"),
                            ("EXPIRED", "Expired"),
                        ],
                        default="READY",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("run_after", models.DateTimeField(blank=True, null=True, verbose_name="run after")),
                ("arguments", models.TextField(verbose_name="arguments")),
                ("result", models.TextField(blank=True, null=True, verbose_name="result")),
                ("options", models.TextField(blank=True, default="", verbose_name="options")),
                ("tags", models.TextField(blank=True, null=True, verbose_name="tags")),
                ("metadata", models.TextField(blank=True, null=True, verbose_name="metadata")),
                ("parent_id", models.UUIDField(blank=True, null=True, verbose_name="enqueued by job")),
                ("max_attempts", models.SmallIntegerField(default=1, verbose_name="attempts allowed")),
                ("timeout", models.FloatField(blank=True, null=True, verbose_name="timeout in seconds")),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires")),
                ("retention", models.FloatField(blank=True, null=True, verbose_name="kept for seconds")),
                (
                    "result_ttl",
                    models.FloatField(blank=True, null=True, verbose_name="result kept for seconds"),
                ),
                ("fence", models.IntegerField(default=0, verbose_name="fence")),
                ("attempts", models.SmallIntegerField(default=0, verbose_name="attempts")),
                ("crashes", models.SmallIntegerField(default=0, verbose_name="crashes")),
                ("rescues", models.IntegerField(db_default=0, default=0, verbose_name="rescues")),
                (
                    "begun_fence",
                    models.IntegerField(blank=True, null=True, verbose_name="begun under fence"),
                ),
                ("worker_id", models.UUIDField(blank=True, null=True, verbose_name="worker")),
                ("enqueued_at", models.DateTimeField(verbose_name="enqueued")),
                ("started_at", models.DateTimeField(blank=True, null=True, verbose_name="first started")),
                (
                    "last_attempted_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="last started"),
                ),
                ("finished_at", models.DateTimeField(blank=True, null=True, verbose_name="finished")),
                ("duration", models.FloatField(blank=True, null=True, verbose_name="seconds run")),
                (
                    "error_code",
                    models.CharField(blank=True, default="", max_length=64, verbose_name="error code"),
                ),
                (
                    "cancel_requested_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="cancellation asked for"),
                ),
                (
                    "cancel_reason",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="reason to cancel"
                    ),
                ),
                ("dismissed_at", models.DateTimeField(blank=True, null=True, verbose_name="dismissed")),
                ("pinned_at", models.DateTimeField(blank=True, null=True, verbose_name="pinned")),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "permissions": (
                    ("enqueue_job", "Can enqueue job of tasks that are open to it"),
                    ("retry_job", "Can retry job"),
                    ("cancel_job", "Can cancel job"),
                    ("discard_job", "Can discard job"),
                    ("view_payload_job", "Can view arguments, results and tracebacks of job"),
                ),
                "default_permissions": ("add", "change", "delete", "view"),
            },
        ),
        migrations.CreateModel(
            name="LogLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("fence", models.IntegerField(verbose_name="fence")),
                ("level", models.SmallIntegerField(verbose_name="level")),
                ("logger", models.CharField(max_length=255, verbose_name="logger")),
                ("message", models.TextField(verbose_name="message")),
                ("created_at", models.DateTimeField(verbose_name="logged")),
            ],
            options={
                "verbose_name": "log line",
                "verbose_name_plural": "log lines",
                "ordering": ("id",),
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend", models.CharField(max_length=128, verbose_name="backend")),
                ("name", models.CharField(max_length=128, verbose_name="name")),
                ("paused_at", models.DateTimeField(blank=True, null=True, verbose_name="paused")),
                (
                    "paused_by",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="paused by"
                    ),
                ),
                (
                    "pause_reason",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=255, verbose_name="reason to pause"
                    ),
                ),
                ("paused_until", models.DateTimeField(blank=True, null=True, verbose_name="paused until")),
                ("max_running", models.IntegerField(blank=True, null=True, verbose_name="jobs at a time")),
                (
                    "turn",
                    models.BigIntegerField(db_default=0, default=0, editable=False, verbose_name="claims"),
                ),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
                "permissions": (("pause_queue", "Can pause queue"),),
                "default_permissions": ("change", "view"),
            },
        ),
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
                ("declared_by", models.UUIDField(blank=True, null=True, verbose_name="declared by worker")),
                ("declared_at", models.DateTimeField(blank=True, null=True, verbose_name="declared")),
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
            },
        ),
        migrations.CreateModel(
            name="Statistic",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend", models.CharField(max_length=128, verbose_name="backend")),
                ("moment", models.DateTimeField(verbose_name="moment")),
                ("queue_name", models.CharField(max_length=128, verbose_name="queue")),
                ("task_name", models.CharField(max_length=255, verbose_name="task")),
                ("started", models.IntegerField(default=0, verbose_name="started")),
                ("successful", models.IntegerField(default=0, verbose_name="successful")),
                ("failed", models.IntegerField(default=0, verbose_name="failed")),
                ("retried", models.IntegerField(default=0, verbose_name="retried")),
                ("crashed", models.IntegerField(default=0, verbose_name="crashed")),
                ("cancelled", models.IntegerField(default=0, verbose_name="cancelled")),
                ("expired", models.IntegerField(default=0, verbose_name="expired")),
                ("seconds_run", models.FloatField(default=0, verbose_name="seconds run")),
                ("seconds_waited", models.FloatField(default=0, verbose_name="seconds waited")),
                ("took_0", models.IntegerField(default=0)),
                ("took_1", models.IntegerField(default=0)),
                ("took_2", models.IntegerField(default=0)),
                ("took_3", models.IntegerField(default=0)),
                ("took_4", models.IntegerField(default=0)),
                ("took_5", models.IntegerField(default=0)),
                ("took_6", models.IntegerField(default=0)),
                ("took_7", models.IntegerField(default=0)),
                ("took_8", models.IntegerField(default=0)),
                ("took_9", models.IntegerField(default=0)),
                ("took_10", models.IntegerField(default=0)),
                ("took_11", models.IntegerField(default=0)),
            ],
            options={
                "verbose_name": "statistic",
                "verbose_name_plural": "statistics",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=255, verbose_name="name")),
                ("hostname", models.CharField(max_length=255, verbose_name="host")),
                ("pid", models.IntegerField(verbose_name="process id")),
                ("backend", models.CharField(max_length=128, verbose_name="backend")),
                ("queues", models.TextField(default="[]", verbose_name="queues")),
                ("exclude_queues", models.TextField(blank=True, null=True, verbose_name="queues left out")),
                ("processes", models.SmallIntegerField(verbose_name="processes")),
                ("threads", models.SmallIntegerField(db_default=0, default=0, verbose_name="threads")),
                (
                    "async_concurrency",
                    models.IntegerField(db_default=0, default=0, verbose_name="coroutines at a time"),
                ),
                ("version", models.CharField(max_length=32, verbose_name="version")),
                ("started_at", models.DateTimeField(verbose_name="started")),
                ("heartbeat_at", models.DateTimeField(verbose_name="last heartbeat")),
                ("lease_expires_at", models.DateTimeField(verbose_name="lease expires")),
                ("running_jobs", models.IntegerField(db_default=0, default=0, verbose_name="jobs at hand")),
                ("memory", models.BigIntegerField(blank=True, null=True, verbose_name="bytes of memory")),
                (
                    "stop_requested_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="stop asked for"),
                ),
                ("stopped_at", models.DateTimeField(blank=True, null=True, verbose_name="stopped")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "permissions": (("stop_worker", "Can stop worker"),),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("owner", models.CharField(max_length=255, verbose_name="owner")),
                ("key", models.CharField(max_length=255, verbose_name="key")),
                ("digest", models.CharField(max_length=64, verbose_name="digest")),
                ("job_id", models.UUIDField(blank=True, null=True, verbose_name="job")),
                ("created_at", models.DateTimeField(db_index=True, verbose_name="created")),
            ],
            options={
                "verbose_name": "idempotency key",
                "verbose_name_plural": "idempotency keys",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("owner", "key"), name="dtq_idempotency_owner_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="Progress",
            fields=[
                (
                    "job",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="django_tasks_q.job",
                        verbose_name="job",
                    ),
                ),
                ("fence", models.IntegerField(verbose_name="fence")),
                ("current", models.FloatField(default=0, verbose_name="done")),
                ("total", models.FloatField(blank=True, null=True, verbose_name="of")),
                ("message", models.CharField(blank=True, default="", max_length=255, verbose_name="message")),
                ("value", models.TextField(blank=True, null=True, verbose_name="value")),
                ("updated_at", models.DateTimeField(verbose_name="updated")),
            ],
            options={
                "verbose_name": "progress",
                "verbose_name_plural": "progress",
                "default_permissions": (),
            },
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "READY")),
                fields=["backend", "-priority", "id"],
                name="dtq_job_ready",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "READY")),
                fields=["backend", "queue_name", "-priority", "id"],
                name="dtq_job_ready_in_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "SCHEDULED")),
                fields=["backend", "run_after"],
                name="dtq_job_scheduled",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "SCHEDULED")),
                fields=["backend", "queue_name", "run_after"],
                name="dtq_job_scheduled_in_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "RUNNING")), fields=["worker_id"], name="dtq_job_running"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("expires_at__isnull", False), ("status__in", ("READY", "SCHEDULED", "WAITING"))
                ),
                fields=["backend", "expires_at"],
                name="dtq_job_expiring",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("cancel_requested_at__isnull", False), ("status", "RUNNING")),
                fields=["worker_id"],
                name="dtq_job_cancelling",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("pinned_at__isnull", True), ("retention__isnull", True)
                ),
                fields=["backend", "status", "finished_at"],
                name="dtq_job_finished",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("pinned_at__isnull", True), ("retention__isnull", False)
                ),
                fields=["backend", "retention", "finished_at"],
                name="dtq_job_retained",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False),
                    ("pinned_at__isnull", True),
                    ("result__isnull", False),
                    ("result_ttl__isnull", False),
                ),
                fields=["backend", "result_ttl", "finished_at"],
                name="dtq_job_result_ttl",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "FAILED")), fields=["id"], name="dtq_job_failed"
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("parent_id__isnull", False)), fields=["parent_id"], name="dtq_job_parent"
            ),
        ),
        migrations.AddField(
            model_name="attempt",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                to="django_tasks_q.job",
                verbose_name="job",
            ),
        ),
        migrations.AddField(
            model_name="logline",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                to="django_tasks_q.job",
                verbose_name="job",
            ),
        ),
        migrations.AddConstraint(
            model_name="queue",
            constraint=models.UniqueConstraint(fields=("backend", "name"), name="dtq_queue_backend_name"),
        ),
        migrations.AddIndex(
            model_name="schedule",
            index=models.Index(fields=["backend", "next_at"], name="dtq_schedule_next"),
        ),
        migrations.AddConstraint(
            model_name="schedule",
            constraint=models.UniqueConstraint(fields=("backend", "name"), name="dtq_schedule_backend_name"),
        ),
        migrations.AddField(
            model_name="firing",
            name="schedule",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="firings",
                to="django_tasks_q.schedule",
                verbose_name="schedule",
            ),
        ),
        migrations.AddConstraint(
            model_name="statistic",
            constraint=models.UniqueConstraint(
                fields=("backend", "moment", "queue_name", "task_name"), name="dtq_statistic_of_moment"
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(fields=("job", "fence"), name="dtq_attempt_job_fence"),
        ),
        migrations.AddConstraint(
            model_name="firing",
            constraint=models.UniqueConstraint(fields=("schedule", "tick"), name="dtq_firing_schedule_tick"),
        ),
        migrations.RunPython(tune, migrations.RunPython.noop, atomic=False, elidable=False),
    ]
