from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0005_actions"),
    ]

    operations = [
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
    ]
