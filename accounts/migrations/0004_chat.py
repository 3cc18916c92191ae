from django.db import migrations, models


class Migration(migrations.Migration):
    """How many chat calls at once, and whether their words are kept."""

    dependencies = [
        ("accounts", "0003_errands_of_history"),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="concurrent_chats",
            field=models.PositiveIntegerField(db_default=16, default=16, verbose_name="chat calls at once"),
        ),
        migrations.AddField(
            model_name="tenant",
            name="keeps_chats",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="What programs send to chat models and what these answer. Without it only counts are kept.",
                verbose_name="keeps the words of API calls",
            ),
        ),
    ]
