from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0010_queue_counts"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="declared_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="declared"),
        ),
        migrations.AddField(
            model_name="schedule",
            name="declared_by",
            field=models.UUIDField(blank=True, null=True, verbose_name="declared by worker"),
        ),
    ]
