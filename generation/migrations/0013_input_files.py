import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from accounts.rls import protect


class Migration(migrations.Migration):
    """Pictures that generations start from."""

    expands = True

    dependencies = [
        ("accounts", "0003_errands_of_history"),
        ("generation", "0012_tasks"),
    ]

    operations = [
        migrations.CreateModel(
            name="InputFile",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("user", models.UUIDField(null=True, verbose_name="member")),
                ("kind", models.CharField(choices=[("picture", "picture"), ("mask", "mask")], max_length=10)),
                ("file", models.CharField(max_length=200)),
                ("sha256", models.CharField(max_length=64)),
                ("bytes", models.BigIntegerField()),
                ("width", models.PositiveIntegerField()),
                ("height", models.PositiveIntegerField()),
                ("unused_since", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
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
                "verbose_name": "input picture",
                "verbose_name_plural": "input pictures",
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="InputUse",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("place", models.PositiveSmallIntegerField()),
                (
                    "generation",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.generation",
                    ),
                ),
                (
                    "input",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.inputfile",
                    ),
                ),
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
                "abstract": False,
            },
        ),
        migrations.AddIndex(
            model_name="inputfile",
            index=models.Index(
                condition=models.Q(("unused_since__isnull", False)),
                fields=["unused_since"],
                name="generation_input_unused",
            ),
        ),
        migrations.AddConstraint(
            model_name="inputfile",
            constraint=models.UniqueConstraint(
                models.F("tenant"), models.F("sha256"), name="generation_inputfile_unique"
            ),
        ),
        migrations.AddIndex(
            model_name="inputuse",
            index=models.Index(fields=["tenant", "input"], name="generation_inputuse_input"),
        ),
        migrations.AddConstraint(
            model_name="inputuse",
            constraint=models.UniqueConstraint(
                models.F("tenant"), models.F("generation"), models.F("place"), name="generation_inputuse_unique"
            ),
        ),
        protect("generation_inputfile"),
        protect(
            "generation_inputuse",
            references=[("generation_id", "generation_generation"), ("input_id", "generation_inputfile")],
        ),
    ]
