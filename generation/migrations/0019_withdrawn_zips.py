from django.db import migrations, models


class Migration(migrations.Migration):
    """A word more: zips go when pictures in them are deleted."""

    dependencies = [
        ("generation", "0018_golden_tasks"),
    ]

    operations = [
        migrations.AlterField(
            model_name="selection",
            name="status",
            field=models.CharField(
                choices=[
                    ("waiting", "waiting"),
                    ("running", "running"),
                    ("ready", "ready"),
                    ("done", "done"),
                    ("failed", "failed"),
                    ("expired", "expired"),
                    ("withdrawn", "withdrawn"),
                ],
                default="waiting",
                max_length=10,
                verbose_name="status",
            ),
        ),
    ]
