from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def _index(schema_editor: Any, columns: str) -> None:
    # As in 0004: where there are no partial indexes, the state is a column of the index.
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute("DROP INDEX dtq_job_scheduled_in_queue ON django_tasks_q_job")
        schema_editor.execute(f"CREATE INDEX dtq_job_scheduled_in_queue ON django_tasks_q_job ({columns})")


def index_state(apps: Any, schema_editor: Any) -> None:
    _index(schema_editor, "backend, status, queue_name, run_after")


def forget_state(apps: Any, schema_editor: Any) -> None:
    _index(schema_editor, "backend, queue_name, run_after")


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0009_parts"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("status", "SCHEDULED")),
                fields=["backend", "queue_name", "run_after"],
                name="dtq_job_scheduled_in_queue",
            ),
        ),
        migrations.RunPython(index_state, forget_state, atomic=False, elidable=False),
        migrations.AlterField(
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
    ]
