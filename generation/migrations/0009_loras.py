import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from accounts.rls import protect


class Migration(migrations.Migration):
    """LoRAs: which are on offer, for whom, and how much longer an image takes with them."""

    expands = True

    dependencies = [
        ("accounts", "0002_people_and_limits"),
        ("generation", "0008_selections"),
    ]

    operations = [
        migrations.CreateModel(
            name="Lora",
            fields=[
                ("slug", models.SlugField(max_length=60, primary_key=True, serialize=False, verbose_name="slug")),
                ("title", models.CharField(max_length=120, verbose_name="title")),
                (
                    "description",
                    models.CharField(
                        blank=True,
                        help_text="One sentence for those who choose it.",
                        max_length=300,
                        verbose_name="description",
                    ),
                ),
                (
                    "trigger_words",
                    models.CharField(
                        blank=True,
                        help_text="Words of a prompt that it was trained on.",
                        max_length=200,
                        verbose_name="trigger words",
                    ),
                ),
                ("family", models.CharField(max_length=40, verbose_name="family")),
                ("sha256", models.CharField(editable=False, max_length=64, unique=True, verbose_name="SHA-256")),
                ("bytes", models.BigIntegerField(editable=False, verbose_name="bytes")),
                ("rank", models.PositiveSmallIntegerField(editable=False, verbose_name="rank")),
                ("fits", models.JSONField(default=list, editable=False, verbose_name="fits")),
                (
                    "default_scale",
                    models.FloatField(
                        default=1.0,
                        validators=[
                            django.core.validators.MinValueValidator(-2.0),
                            django.core.validators.MaxValueValidator(2.0),
                        ],
                        verbose_name="usual strength",
                    ),
                ),
                (
                    "min_scale",
                    models.FloatField(
                        default=-2.0,
                        validators=[
                            django.core.validators.MinValueValidator(-2.0),
                            django.core.validators.MaxValueValidator(2.0),
                        ],
                        verbose_name="least strength",
                    ),
                ),
                (
                    "max_scale",
                    models.FloatField(
                        default=2.0,
                        validators=[
                            django.core.validators.MinValueValidator(-2.0),
                            django.core.validators.MaxValueValidator(2.0),
                        ],
                        verbose_name="greatest strength",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("public", models.BooleanField(default=True, verbose_name="for all tenants")),
                ("position", models.PositiveSmallIntegerField(default=0, verbose_name="position")),
                ("licence", models.CharField(blank=True, max_length=120, verbose_name="licence")),
                (
                    "source",
                    models.CharField(
                        blank=True, help_text="Where the file comes from.", max_length=300, verbose_name="source"
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={
                "verbose_name": "LoRA",
                "verbose_name_plural": "LoRAs",
                "ordering": ["position", "slug"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("min_scale__lte", models.F("default_scale")), ("default_scale__lte", models.F("max_scale"))
                        ),
                        name="generation_lora_scales",
                        violation_error_message="The usual strength must lie between the least and the greatest.",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LoraCost",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hardware", models.CharField(max_length=80)),
                ("loras", models.PositiveSmallIntegerField()),
                ("factor", models.FloatField()),
                ("samples", models.PositiveIntegerField(default=1)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="generation.model"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        models.F("model"), models.F("hardware"), models.F("loras"), name="generation_loracost_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LoraGrant",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "lora",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.lora",
                        verbose_name="LoRA",
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
                "verbose_name": "LoRA grant",
                "verbose_name_plural": "LoRA grants",
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(models.F("tenant"), models.F("lora"), name="generation_loragrant_unique")
                ],
            },
        ),
        protect("generation_loragrant"),
    ]
