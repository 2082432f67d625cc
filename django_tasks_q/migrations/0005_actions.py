from typing import Any

from django.db import migrations, models


def index_state(apps: Any, schema_editor: Any) -> None:
    _index(schema_editor, "status, id")


def forget_state(apps: Any, schema_editor: Any) -> None:
    _index(schema_editor, "id")


def _index(schema_editor: Any, columns: str) -> None:
    # MySQL and MariaDB have no partial indexes, and without the state this would be the primary key again.
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("DROP INDEX dtq_job_failed ON django_tasks_q_job")
        schema_editor.execute(f"CREATE INDEX dtq_job_failed ON django_tasks_q_job ({columns})")


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0004_capabilities"),
    ]

    operations = [
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
                "constraints": [
                    models.UniqueConstraint(fields=("backend", "name"), name="dtq_queue_backend_name"),
                ],
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend", "moment", "queue_name", "task_name"),
                        name="dtq_statistic_of_moment",
                    ),
                ],
            },
        ),
        migrations.AlterModelOptions(
            name="job",
            options={
                "default_permissions": ("add", "change", "delete", "view"),
                "permissions": (
                    ("retry_job", "Can retry job"),
                    ("cancel_job", "Can cancel job"),
                    ("discard_job", "Can discard job"),
                    ("view_payload_job", "Can view arguments, results and tracebacks of job"),
                ),
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
            },
        ),
        migrations.AlterModelOptions(
            name="worker",
            options={
                "default_permissions": ("view",),
                "permissions": (("stop_worker", "Can stop worker"),),
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
            },
        ),
        migrations.RemoveIndex(
            model_name="job",
            name="dtq_job_finished",
        ),
        migrations.RemoveIndex(
            model_name="job",
            name="dtq_job_retained",
        ),
        migrations.RemoveIndex(
            model_name="job",
            name="dtq_job_result_ttl",
        ),
        migrations.AddField(
            model_name="job",
            name="dismissed_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="dismissed"),
        ),
        migrations.AddField(
            model_name="job",
            name="pinned_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="pinned"),
        ),
        migrations.AddField(
            model_name="worker",
            name="exclude_queues",
            field=models.TextField(blank=True, null=True, verbose_name="queues left out"),
        ),
        migrations.AddField(
            model_name="worker",
            name="memory",
            field=models.BigIntegerField(blank=True, null=True, verbose_name="bytes of memory"),
        ),
        migrations.AddField(
            model_name="worker",
            name="running_jobs",
            field=models.IntegerField(db_default=0, default=0, verbose_name="jobs at hand"),
        ),
        migrations.AddField(
            model_name="worker",
            name="stop_requested_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="stop asked for"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("pinned_at__isnull", True), ("retention__isnull", True)
                ),
                fields=["finished_at"],
                name="dtq_job_finished",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("pinned_at__isnull", True), ("retention__isnull", False)
                ),
                fields=["retention", "finished_at"],
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
                fields=["result_ttl", "finished_at"],
                name="dtq_job_result_ttl",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "FAILED")), fields=["id"], name="dtq_job_failed"
            ),
        ),
        migrations.RunPython(index_state, forget_state, atomic=False, elidable=False),
    ]
