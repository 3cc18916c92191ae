from django.db import migrations, models


class Migration(migrations.Migration):
    """Which of its models a worker has in memory: it may serve more than fit."""

    dependencies = [
        ("generation", "0009_loras"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="resident",
            field=models.JSONField(null=True, verbose_name="in memory"),
        ),
    ]
