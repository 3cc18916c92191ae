import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.db import migrations, models

import accounts.ids
from accounts.rls import protect


class Migration(migrations.Migration):
    """The chat page: conversations, their messages, and presets, each one member's own."""

    expands = True

    dependencies = [
        ("accounts", "0004_chat"),
        ("generation", "0016_chat"),
    ]

    operations = [
        migrations.CreateModel(
            name="Conversation",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("user", models.UUIDField(verbose_name="member")),
                ("title", models.CharField(max_length=120, verbose_name="title")),
                ("folded", models.CharField(max_length=2500)),
                ("model", models.CharField(max_length=60, verbose_name="chat model")),
                ("system", models.TextField(blank=True, verbose_name="system prompt")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="changed")),
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
                "verbose_name": "conversation",
                "verbose_name_plural": "conversations",
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("user", models.UUIDField(verbose_name="member")),
                ("place", models.PositiveIntegerField()),
                ("role", models.CharField(choices=[("user", "you"), ("assistant", "model")], max_length=10)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("running", "running"),
                            ("done", "done"),
                            ("stopped", "stopped"),
                            ("failed", "failed"),
                            ("broken", "broken off"),
                        ],
                        default="done",
                        max_length=10,
                    ),
                ),
                ("text", models.TextField(default="")),
                ("reasoning", models.TextField(default="")),
                ("folded", models.TextField(default="")),
                ("model", models.CharField(default="", max_length=60)),
                ("finish", models.CharField(default="", max_length=20)),
                ("code", models.CharField(default="", max_length=40)),
                ("detail", models.CharField(default="", max_length=500)),
                ("left_out", models.PositiveIntegerField(default=0)),
                ("tokens_in", models.PositiveIntegerField(null=True)),
                ("tokens_out", models.PositiveIntegerField(null=True)),
                ("total_ms", models.PositiveIntegerField(null=True)),
                ("fence", models.PositiveIntegerField(default=0)),
                ("attempt", models.PositiveSmallIntegerField(default=0)),
                ("lease_until", models.DateTimeField(null=True)),
                ("stop", models.BooleanField(default=False)),
                ("watched_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "conversation",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.conversation",
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
                "verbose_name": "message",
                "verbose_name_plural": "messages",
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="ChatPreset",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("user", models.UUIDField(verbose_name="member")),
                ("name", models.CharField(max_length=60, verbose_name="name")),
                ("text", models.TextField(verbose_name="system prompt")),
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
                "verbose_name": "preset",
                "verbose_name_plural": "presets",
                "ordering": ["id"],
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(
                        models.F("tenant"),
                        models.F("user"),
                        django.db.models.functions.text.Lower("name"),
                        name="generation_chatpreset_name",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(fields=["tenant", "user", "-updated_at", "-id"], name="generation_conversation_own"),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                models.F("tenant"), models.F("conversation"), models.F("place"), name="generation_message_place"
            ),
        ),
        migrations.AddConstraint(
            model_name="message",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status__in", ("waiting", "running"))),
                fields=("tenant", "conversation"),
                name="generation_message_active",
            ),
        ),
        protect("generation_conversation"),
        protect("generation_message", references=[("conversation_id", "generation_conversation")]),
        protect("generation_chatpreset"),
    ]
