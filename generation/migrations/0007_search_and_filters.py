from django.db import migrations, models


class Migration(migrations.Migration):
    """The prompt as searches read it, and indexes for the history's filters. Old rows are folded by the sweep."""

    dependencies = [
        ("generation", "0006_golden_cases"),
    ]

    operations = [
        migrations.AddField(
            model_name="generation",
            name="folded",
            field=models.TextField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(
                condition=models.Q(("starred", True)),
                fields=["tenant", "-created_at", "-id"],
                name="generation_starred",
            ),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(
                condition=models.Q(("status__in", ("failed", "canceled"))),
                fields=["tenant", "-created_at", "-id"],
                name="generation_undrawn",
            ),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(fields=["tenant", "user", "-created_at", "-id"], name="generation_member"),
        ),
        migrations.AddIndex(
            model_name="generation",
            index=models.Index(condition=models.Q(("folded", None)), fields=["id"], name="generation_unfolded"),
        ),
    ]
