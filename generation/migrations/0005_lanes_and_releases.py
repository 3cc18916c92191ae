import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import accounts.ids


class Migration(migrations.Migration):
    """Blue and green as rows: which of them serves, with which release; what a worker's loading took."""

    expands = True

    dependencies = [
        ("generation", "0004_people_and_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="load_ms",
            field=models.PositiveIntegerField(null=True, verbose_name="loading in ms"),
        ),
        migrations.AddField(
            model_name="worker",
            name="schemas",
            field=models.JSONField(null=True),
        ),
        migrations.CreateModel(
            name="Release",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=40, verbose_name="release")),
                ("lane", models.CharField(max_length=10, verbose_name="lane")),
                (
                    "mode",
                    models.CharField(
                        choices=[("side-by-side", "side by side"), ("hand-over", "hand-over")],
                        default="side-by-side",
                        max_length=20,
                        verbose_name="way",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("trying", "being tried"),
                            ("current", "serves"),
                            ("previous", "served before"),
                            ("withdrawn", "taken back"),
                            ("failed", "failed"),
                            ("ended", "ended"),
                        ],
                        default="trying",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="detail")),
                ("pause_ms", models.PositiveIntegerField(null=True, verbose_name="pause in ms")),
                ("started_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="started")),
                ("promoted_at", models.DateTimeField(null=True, verbose_name="promoted")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
            ],
            options={
                "verbose_name": "release",
                "verbose_name_plural": "releases",
                "indexes": [models.Index(fields=["-started_at"], name="generation_release_time")],
            },
        ),
        migrations.CreateModel(
            name="Lane",
            fields=[
                ("name", models.CharField(max_length=10, primary_key=True, serialize=False, verbose_name="lane")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("stopped", "stopped"),
                            ("starting", "starting"),
                            ("ready", "ready"),
                            ("promoting", "being promoted"),
                            ("serving", "serving"),
                            ("standby", "standing by"),
                            ("returning", "being rolled back to"),
                            ("draining", "draining"),
                            ("drained", "drained"),
                            ("stopping", "stopping"),
                            ("failed", "failed"),
                        ],
                        default="stopped",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                ("serves", models.JSONField(default=list, verbose_name="models")),
                ("detail", models.CharField(blank=True, max_length=500, verbose_name="detail")),
                ("changed_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="since")),
                (
                    "release",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="generation.release",
                        verbose_name="release",
                    ),
                ),
            ],
            options={
                "verbose_name": "lane",
                "verbose_name_plural": "lanes",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "serving")), fields=("state",), name="generation_lane_default"
                    )
                ],
            },
        ),
        # A studio begins in blue.
        migrations.RunSQL(
            "INSERT INTO generation_lane (name, state, serves, detail, changed_at) VALUES "
            "('blue', 'serving', '[]', '', now()), ('green', 'stopped', '[]', '', now())",
            reverse_sql=migrations.RunSQL.noop,
        ),
    ]
