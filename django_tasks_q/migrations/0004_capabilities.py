from typing import Any

import django.db.models.deletion
from django.db import migrations, models

# MySQL and MariaDB have no partial indexes: Django makes whole ones there, in which what has ended lies between
# what is looked for. With the state in them it does not.
WHOLE = {
    "dtq_job_ready": ("backend, status, priority DESC, id", "backend, priority DESC, id"),
    "dtq_job_ready_in_queue": (
        "backend, status, queue_name, priority DESC, id",
        "backend, queue_name, priority DESC, id",
    ),
    "dtq_job_scheduled": ("status, run_after", "run_after"),
    "dtq_job_running": ("status, worker_id", "worker_id"),
}


def index_states(apps: Any, schema_editor: Any) -> None:
    _index(schema_editor, {name: columns for name, (columns, _) in WHOLE.items()})


def forget_states(apps: Any, schema_editor: Any) -> None:
    _index(schema_editor, {name: columns for name, (_, columns) in WHOLE.items()})


def _index(schema_editor: Any, wanted: dict[str, str]) -> None:
    if schema_editor.connection.vendor == "mysql":
        for name, columns in wanted.items():
            schema_editor.execute(f"DROP INDEX {name} ON django_tasks_q_job")
            schema_editor.execute(f"CREATE INDEX {name} ON django_tasks_q_job ({columns})")


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0003_speed"),
    ]

    operations = [
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
            name="Progress",
            fields=[
                (
                    "job",
                    models.OneToOneField(
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
        migrations.RemoveIndex(
            model_name="job",
            name="dtq_job_finished",
        ),
        migrations.AddField(
            model_name="attempt",
            name="data",
            field=models.TextField(blank=True, null=True, verbose_name="error data"),
        ),
        migrations.AddField(
            model_name="job",
            name="metadata",
            field=models.TextField(blank=True, null=True, verbose_name="metadata"),
        ),
        migrations.AddField(
            model_name="job",
            name="parent_id",
            field=models.UUIDField(blank=True, null=True, verbose_name="enqueued by job"),
        ),
        migrations.AddField(
            model_name="job",
            name="result_ttl",
            field=models.FloatField(blank=True, null=True, verbose_name="result kept for seconds"),
        ),
        migrations.AddField(
            model_name="job",
            name="retention",
            field=models.FloatField(blank=True, null=True, verbose_name="kept for seconds"),
        ),
        migrations.AddField(
            model_name="job",
            name="tags",
            field=models.TextField(blank=True, null=True, verbose_name="tags"),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False), ("retention__isnull", True)),
                fields=["finished_at"],
                name="dtq_job_finished",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False), ("retention__isnull", False)),
                fields=["retention", "finished_at"],
                name="dtq_job_retained",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("finished_at__isnull", False), ("result__isnull", False), ("result_ttl__isnull", False)
                ),
                fields=["result_ttl", "finished_at"],
                name="dtq_job_result_ttl",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("parent_id__isnull", False)), fields=["parent_id"], name="dtq_job_parent"
            ),
        ),
        migrations.AddField(
            model_name="logline",
            name="job",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, to="django_tasks_q.job", verbose_name="job"
            ),
        ),
        migrations.RunPython(index_states, forget_states, atomic=False, elidable=False),
    ]
