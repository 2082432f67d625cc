from typing import Any

from django.db import migrations, models

# Rows are rewritten twice within seconds. Room on their pages keeps the new versions near, and vacuum has to
# follow the dead ones by their number: a share of a table that also holds what has ended is far too many.
TABLE = """
ALTER TABLE django_tasks_q_job SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 10000
)
"""
DEFAULTS = """
ALTER TABLE django_tasks_q_job RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_analyze_scale_factor, autovacuum_analyze_threshold
)
"""


def set_up(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(TABLE)


def reset(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DEFAULTS)


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0002_endings"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="job",
            name="dtq_job_ready",
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
        migrations.RunPython(set_up, reset, elidable=False),
    ]
