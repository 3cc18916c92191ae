import accounts.ids
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from accounts.rls import protect
from generation.migrations import _chat_functions as functions


class Migration(migrations.Migration):
    """Chat: upstreams, models, rules, and the books of calls."""

    expands = True

    dependencies = [
        ("accounts", "0004_chat"),
        ("generation", "0015_styles"),
    ]

    operations = [
        migrations.CreateModel(
            name="ChatModel",
            fields=[
                (
                    "slug",
                    models.CharField(
                        max_length=60,
                        primary_key=True,
                        serialize=False,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9.-]{0,59}\\Z", "Small letters, digits, dots and dashes, up to 60."
                            )
                        ],
                        verbose_name="slug",
                    ),
                ),
                ("title", models.CharField(max_length=120, verbose_name="title")),
                (
                    "max_tokens",
                    models.PositiveIntegerField(
                        default=4096,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000000),
                        ],
                        verbose_name="tokens of an answer",
                    ),
                ),
                (
                    "max_prompt_chars",
                    models.PositiveIntegerField(
                        default=32768,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(1000000),
                        ],
                        verbose_name="characters of a prompt",
                    ),
                ),
                (
                    "sampling",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Where a request says nothing, such as {"temperature": 0.7}.',
                        verbose_name="sampling",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("public", models.BooleanField(default=True, verbose_name="for all tenants")),
                ("position", models.PositiveSmallIntegerField(default=0, verbose_name="position")),
                ("loaded", models.JSONField(default=dict, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={
                "verbose_name": "chat model",
                "verbose_name_plural": "chat models",
                "ordering": ["position", "slug"],
            },
        ),
        migrations.CreateModel(
            name="Upstream",
            fields=[
                (
                    "slug",
                    models.CharField(
                        max_length=60,
                        primary_key=True,
                        serialize=False,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[a-z0-9][a-z0-9.-]{0,59}\\Z", "Small letters, digits, dots and dashes, up to 60."
                            )
                        ],
                        verbose_name="name",
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("openai", "OpenAI's API"), ("ollama", "Ollama's API")],
                        default="openai",
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                (
                    "base_url",
                    models.CharField(
                        help_text="Such as http://127.0.0.1:11434; one of OpenAI's kind may end in /v1.",
                        max_length=300,
                        verbose_name="base URL",
                    ),
                ),
                ("credential", models.TextField(blank=True, editable=False, verbose_name="credential")),
                (
                    "connect_s",
                    models.FloatField(
                        default=2.0,
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="seconds to connect",
                    ),
                ),
                (
                    "first_byte_s",
                    models.FloatField(
                        default=3.0,
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="seconds to the first byte",
                    ),
                ),
                (
                    "idle_s",
                    models.FloatField(
                        default=30.0,
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="seconds between two bytes",
                    ),
                ),
                (
                    "total_s",
                    models.FloatField(
                        default=600.0,
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="seconds of a whole answer",
                    ),
                ),
                (
                    "loading_s",
                    models.FloatField(
                        default=0.0,
                        help_text="In place of the first byte's, while a server that loads on demand may be loading; 0: it never does.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(86400),
                        ],
                        verbose_name="seconds to load a model",
                    ),
                ),
                (
                    "concurrency",
                    models.PositiveIntegerField(
                        default=8,
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="calls at once",
                    ),
                ),
                (
                    "weight",
                    models.PositiveSmallIntegerField(
                        default=1,
                        help_text="Share of the calls beside others.",
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="weight",
                    ),
                ),
                (
                    "takes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=30),
                        blank=True,
                        help_text="Empty: all of them. What it does not take is not sent to it.",
                        null=True,
                        size=None,
                        verbose_name="optional fields that it takes",
                    ),
                ),
                (
                    "link_local",
                    models.BooleanField(
                        default=False,
                        help_text="Metadata services of clouds are refused anyway.",
                        verbose_name="may have a link-local address",
                    ),
                ),
                (
                    "health_path",
                    models.CharField(
                        blank=True,
                        help_text="Empty: what its kind has.",
                        max_length=200,
                        verbose_name="path of its health check",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("loaded", models.JSONField(default=dict, editable=False)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="made"),
                ),
                ("updated_at", models.DateTimeField(auto_now=True, verbose_name="changed")),
            ],
            options={
                "verbose_name": "upstream",
                "verbose_name_plural": "upstreams",
                "ordering": ["slug"],
            },
        ),
        migrations.CreateModel(
            name="ChatCall",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("user", models.UUIDField(null=True, verbose_name="member")),
                ("key", models.UUIDField(null=True, verbose_name="key")),
                ("model", models.CharField(max_length=60, verbose_name="chat model")),
                ("upstream", models.CharField(blank=True, max_length=60, verbose_name="upstream")),
                ("lane", models.CharField(max_length=10, verbose_name="lane")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("done", "done"),
                            ("stopped", "ended by a rule"),
                            ("client_gone", "the client left"),
                            ("refused", "refused by the upstream"),
                            ("unavailable", "no upstream answered"),
                            ("broken", "broke off"),
                            ("blocked", "blocked"),
                            ("revoked", "revoked"),
                            ("lost", "lost with its process"),
                        ],
                        default="running",
                        max_length=12,
                        verbose_name="outcome",
                    ),
                ),
                ("finish", models.CharField(blank=True, max_length=20, verbose_name="finish reason")),
                ("attempts", models.PositiveSmallIntegerField(default=0, verbose_name="upstreams asked")),
                ("fence", models.PositiveIntegerField(default=1)),
                ("lease_until", models.DateTimeField(null=True)),
                ("charged_on", models.DateField(verbose_name="charged on")),
                ("tokens", models.PositiveIntegerField(default=0, verbose_name="tokens set aside")),
                ("tokens_in", models.PositiveIntegerField(default=0, verbose_name="tokens of the prompt")),
                ("tokens_out", models.PositiveIntegerField(default=0, verbose_name="tokens of the answer")),
                ("estimated", models.BooleanField(default=False, verbose_name="estimated")),
                ("prompt_chars", models.PositiveIntegerField(default=0, verbose_name="characters of the prompt")),
                ("first_byte_ms", models.PositiveIntegerField(null=True, verbose_name="first byte (ms)")),
                ("total_ms", models.PositiveIntegerField(null=True, verbose_name="whole (ms)")),
                ("prompt", models.TextField(null=True, verbose_name="prompt")),
                ("answer", models.TextField(null=True, verbose_name="answer")),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name="time"),
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
                "verbose_name": "chat call",
                "verbose_name_plural": "chat calls",
                "abstract": False,
                "indexes": [
                    models.Index(
                        condition=models.Q(("outcome", "running")),
                        fields=["tenant", "key"],
                        name="generation_chatcall_running",
                    ),
                    models.Index(
                        condition=models.Q(("prompt__isnull", False)),
                        fields=["tenant", "created_at"],
                        name="generation_chatcall_words",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ChatGrant",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.tenant",
                        verbose_name="tenant",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="generation.chatmodel",
                        verbose_name="chat model",
                    ),
                ),
            ],
            options={
                "verbose_name": "chat model grant",
                "verbose_name_plural": "chat model grants",
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(models.F("tenant"), models.F("model"), name="generation_chatgrant_unique")
                ],
            },
        ),
        migrations.CreateModel(
            name="PromptRule",
            fields=[
                ("id", models.UUIDField(default=accounts.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[("word", "word"), ("pattern", "pattern")],
                        default="word",
                        max_length=8,
                        verbose_name="kind",
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[("redact", "cut it out"), ("stop", "end the answer")],
                        default="redact",
                        max_length=8,
                        verbose_name="action",
                    ),
                ),
                ("text", models.CharField(max_length=200, verbose_name="word or pattern")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
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
                "verbose_name": "rule for answers",
                "verbose_name_plural": "rules for answers",
                "ordering": ["id"],
                "abstract": False,
                "constraints": [
                    models.UniqueConstraint(
                        models.F("tenant"), models.F("kind"), models.F("text"), name="generation_promptrule_unique"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ChatTarget",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, verbose_name="its own name")),
                (
                    "context_tokens",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Told to Ollama, which cuts longer prompts without a word.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(256)],
                        verbose_name="context in tokens",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="targets",
                        to="generation.chatmodel",
                        verbose_name="chat model",
                    ),
                ),
                (
                    "upstream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="targets",
                        to="generation.upstream",
                        verbose_name="upstream",
                    ),
                ),
            ],
            options={
                "verbose_name": "upstream of a chat model",
                "verbose_name_plural": "upstreams of a chat model",
                "ordering": ["id"],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("model"), models.F("upstream"), name="generation_chattarget_unique"
                    )
                ],
            },
        ),
        protect("generation_chatgrant"),
        protect("generation_promptrule"),
        protect("generation_chatcall"),
        migrations.RunSQL(functions.CREATE, functions.DROP),
    ]
