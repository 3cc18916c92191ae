import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from accounts.rls import protect


class Migration(migrations.Migration):
    """Prompt templates of tenants."""

    expands = True

    dependencies = [
        ("accounts", "0003_errands_of_history"),
        ("generation", "0013_input_files"),
    ]

    operations = [
        migrations.CreateModel(
            name="Style",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=60, verbose_name="name")),
                ("prompt", models.TextField(verbose_name="prompt template")),
                ("negative_prompt", models.TextField(blank=True, verbose_name="negative prompt")),
                ("position", models.PositiveSmallIntegerField(default=0, verbose_name="position")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.tenant",
                        verbose_name="tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "style",
                "verbose_name_plural": "styles",
                "ordering": ["position", "id"],
                "abstract": False,
            },
        ),
        migrations.AddConstraint(
            model_name="style",
            constraint=models.UniqueConstraint(
                models.F("tenant"), django.db.models.functions.text.Lower("name"), name="generation_style_name"
            ),
        ),
        protect("generation_style"),
    ]
