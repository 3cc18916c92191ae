from django.db import migrations, models


class Migration(migrations.Migration):
    """Which LoRAs a worker has in memory: why something waits can name the one that is not there."""

    dependencies = [
        ("generation", "0019_withdrawn_zips"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="loras",
            field=models.JSONField(null=True, verbose_name="LoRAs in memory"),
        ),
    ]
