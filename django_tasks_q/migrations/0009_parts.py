import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_tasks_q", "0008_schedules"),
    ]

    operations = [
        migrations.AlterField(
            model_name="attempt",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                to="django_tasks_q.job",
                verbose_name="job",
            ),
        ),
        migrations.AlterField(
            model_name="logline",
            name="job",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                to="django_tasks_q.job",
                verbose_name="job",
            ),
        ),
        migrations.AlterField(
            model_name="progress",
            name="job",
            field=models.OneToOneField(
                db_constraint=False,
                on_delete=django.db.models.deletion.CASCADE,
                primary_key=True,
                serialize=False,
                to="django_tasks_q.job",
                verbose_name="job",
            ),
        ),
    ]
