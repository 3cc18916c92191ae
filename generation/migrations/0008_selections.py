import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from accounts.rls import protect


class Migration(migrations.Migration):
    """Zips and deletions of many pictures at once."""

    expands = True

    dependencies = [
        ("accounts", "0003_errands_of_history"),
        ("generation", "0007_search_and_filters"),
    ]

    operations = [
        migrations.CreateModel(
            name="Selection",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "act",
                    models.CharField(
                        choices=[("zip", "zip"), ("delete", "delete")], max_length=10, verbose_name="what"
                    ),
                ),
                ("requested_by", models.UUIDField(null=True, verbose_name="asked for by")),
                (
                    "ids",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("running", "running"),
                            ("ready", "ready"),
                            ("done", "done"),
                            ("failed", "failed"),
                            ("expired", "expired"),
                        ],
                        default="waiting",
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("done", models.PositiveIntegerField(default=0)),
                ("total", models.PositiveIntegerField(default=0)),
                ("left", models.PositiveIntegerField(default=0)),
                ("file", models.CharField(blank=True, max_length=200)),
                ("bytes", models.BigIntegerField(default=0)),
                ("error", models.CharField(blank=True, max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("finished_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
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
                "verbose_name": "selection",
                "verbose_name_plural": "selections",
                "abstract": False,
            },
        ),
        migrations.AddIndex(
            model_name="selection",
            index=models.Index(
                fields=["tenant", "requested_by", "-created_at", "-id"], name="generation_selection_own"
            ),
        ),
        migrations.AddIndex(
            model_name="selection",
            index=models.Index(fields=["created_at"], name="generation_selection_age"),
        ),
        protect("generation_selection"),
    ]
