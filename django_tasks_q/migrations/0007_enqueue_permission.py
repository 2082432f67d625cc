from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0006_idempotency"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="job",
            options={
                "default_permissions": ("add", "change", "delete", "view"),
                "permissions": (
                    ("enqueue_job", "Can enqueue job of tasks that are open to it"),
                    ("retry_job", "Can retry job"),
                    ("cancel_job", "Can cancel job"),
                    ("discard_job", "Can discard job"),
                    ("view_payload_job", "Can view arguments, results and tracebacks of job"),
                ),
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
            },
        ),
    ]
