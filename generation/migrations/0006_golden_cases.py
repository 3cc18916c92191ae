import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids


class Migration(migrations.Migration):
    """Golden cases, and what comparisons of the lanes found."""

    expands = True

    dependencies = [
        ("generation", "0005_lanes_and_releases"),
    ]

    operations = [
        migrations.CreateModel(
            name="Comparison",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("lane", models.CharField(max_length=10, verbose_name="lane")),
                ("release_name", models.CharField(max_length=40, verbose_name="release")),
                ("against", models.CharField(max_length=20, verbose_name="against")),
                ("against_release", models.CharField(blank=True, max_length=40, verbose_name="release before")),
                ("whole", models.BooleanField(default=True, verbose_name="all cases")),
                (
                    "verdict",
                    models.CharField(
                        blank=True,
                        choices=[("green", "green"), ("yellow", "yellow"), ("red", "red")],
                        max_length=10,
                        verbose_name="verdict",
                    ),
                ),
                ("by_model", models.JSONField(default=list, verbose_name="by model")),
                ("skipped", models.JSONField(default=list, verbose_name="not drawn")),
                ("by", models.CharField(blank=True, max_length=80, verbose_name="by")),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="started")),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished")),
                ("promoted_at", models.DateTimeField(null=True, verbose_name="taken as references")),
                (
                    "release",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="generation.release",
                        verbose_name="release",
                    ),
                ),
            ],
            options={
                "verbose_name": "comparison",
                "verbose_name_plural": "comparisons",
            },
        ),
        migrations.CreateModel(
            name="ComparedCase",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("slug", models.CharField(max_length=60, verbose_name="case")),
                ("position", models.PositiveSmallIntegerField(default=0)),
                ("model", models.CharField(max_length=60, verbose_name="model")),
                ("prompt", models.TextField(verbose_name="prompt")),
                ("params", models.JSONField(verbose_name="parameters")),
                ("params_sha256", models.CharField(max_length=64)),
                (
                    "tolerance",
                    models.CharField(
                        choices=[("exact", "exact"), ("close", "close"), ("loose", "loose")],
                        max_length=10,
                        verbose_name="tolerance",
                    ),
                ),
                (
                    "verdict",
                    models.CharField(
                        choices=[("green", "green"), ("yellow", "yellow"), ("red", "red")],
                        max_length=10,
                        verbose_name="verdict",
                    ),
                ),
                ("reasons", models.JSONField(default=list)),
                ("ssim", models.FloatField(null=True)),
                ("bits", models.PositiveSmallIntegerField(null=True)),
                ("colour", models.FloatField(null=True)),
                ("new_sha256", models.CharField(blank=True, max_length=64)),
                ("old_sha256", models.CharField(blank=True, max_length=64)),
                ("new_error", models.CharField(blank=True, max_length=40)),
                ("old_error", models.CharField(blank=True, max_length=40)),
                ("new_wait_ms", models.PositiveIntegerField(null=True)),
                ("old_wait_ms", models.PositiveIntegerField(null=True)),
                ("new_run_ms", models.PositiveIntegerField(null=True)),
                ("old_run_ms", models.PositiveIntegerField(null=True)),
                ("hardware", models.CharField(blank=True, max_length=80)),
                (
                    "comparison",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="cases", to="generation.comparison"
                    ),
                ),
            ],
            options={
                "ordering": ["model", "position", "slug"],
            },
        ),
        migrations.CreateModel(
            name="GoldenCase",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("slug", models.SlugField(max_length=60, unique=True, verbose_name="name")),
                ("prompt", models.TextField(verbose_name="prompt")),
                ("negative_prompt", models.TextField(blank=True, verbose_name="negative prompt")),
                (
                    "seed",
                    models.BigIntegerField(
                        default=1,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(9223372036854775807),
                        ],
                        verbose_name="seed",
                    ),
                ),
                (
                    "width",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(16),
                            django.core.validators.MaxValueValidator(4096),
                        ],
                        verbose_name="width",
                    ),
                ),
                (
                    "height",
                    models.PositiveIntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(16),
                            django.core.validators.MaxValueValidator(4096),
                        ],
                        verbose_name="height",
                    ),
                ),
                (
                    "steps",
                    models.PositiveSmallIntegerField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="steps",
                    ),
                ),
                (
                    "true_cfg_scale",
                    models.FloatField(
                        blank=True,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(30.0),
                        ],
                        verbose_name="true CFG scale",
                    ),
                ),
                (
                    "tolerance",
                    models.CharField(
                        choices=[("exact", "exact"), ("close", "close"), ("loose", "loose")],
                        default="close",
                        help_text="Exact: the same pixels. Close: what other kernels and drivers change. Loose: the model is meant to have changed, and still draws the same thing.",
                        max_length=10,
                        verbose_name="tolerance",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "position",
                    models.PositiveSmallIntegerField(
                        default=0,
                        help_text="Of a model's cases the first is the one that is drawn in a hand-over, while nobody else is.",
                        verbose_name="position",
                    ),
                ),
                ("note", models.TextField(blank=True, verbose_name="note")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.model",
                        verbose_name="model",
                    ),
                ),
            ],
            options={
                "verbose_name": "golden case",
                "verbose_name_plural": "golden cases",
                "ordering": ["model", "position", "slug"],
            },
        ),
        migrations.AddIndex(
            model_name="comparison",
            index=models.Index(fields=["-started_at", "-id"], name="generation_comparison_time"),
        ),
        migrations.AddIndex(
            model_name="comparison",
            index=models.Index(fields=["-promoted_at"], name="generation_comparison_refs"),
        ),
        migrations.AddIndex(
            model_name="comparedcase",
            index=models.Index(fields=["slug", "params_sha256"], name="generation_comparedcase_ref"),
        ),
        migrations.AddConstraint(
            model_name="comparedcase",
            constraint=models.UniqueConstraint(
                models.F("comparison"), models.F("slug"), name="generation_comparedcase_unique"
            ),
        ),
    ]
