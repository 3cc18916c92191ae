from django.db import migrations, models


class Migration(migrations.Migration):
    """Work that was cancelled because the studio was too slow for a client that waited: not charged for what ran."""

    expands = True

    dependencies = [
        ("generation", "0006_golden_cases"),
    ]

    operations = [
        migrations.AddField(
            model_name="generation",
            name="cancel_is_free",
            field=models.BooleanField(db_default=False, default=False, verbose_name="cancelled at our cost"),
        ),
    ]
