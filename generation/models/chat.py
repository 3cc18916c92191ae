"""Chat: the servers that answer it, the models that staff offer, tenants' rules for answers, and the calls."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.enums import CallOutcome, RuleAction, RuleKind, UpstreamKind

_NAME = RegexValidator(r"^[a-z0-9][a-z0-9.-]{0,59}\Z", _("Small letters, digits, dots and dashes, up to 60."))
_SECONDS = (MinValueValidator(0.1), MaxValueValidator(86_400))


class Upstream(models.Model):
    """A server that answers chat. `credential` is sealed; `loaded` is what the upstreams file said of it last."""

    slug = models.CharField(_("name"), primary_key=True, max_length=60, validators=[_NAME])
    kind = models.CharField(_("kind"), max_length=10, choices=UpstreamKind.choices, default=UpstreamKind.OPENAI)
    base_url = models.CharField(
        _("base URL"),
        max_length=300,
        help_text=_("Such as http://127.0.0.1:11434; one of OpenAI's kind may end in /v1."),
    )
    credential = models.TextField(_("credential"), blank=True, editable=False)
    connect_s = models.FloatField(_("seconds to connect"), default=2.0, validators=_SECONDS)
    first_byte_s = models.FloatField(_("seconds to the first byte"), default=3.0, validators=_SECONDS)
    idle_s = models.FloatField(_("seconds between two bytes"), default=30.0, validators=_SECONDS)
    total_s = models.FloatField(_("seconds of a whole answer"), default=600.0, validators=_SECONDS)
    loading_s = models.FloatField(
        _("seconds to load a model"),
        default=0.0,
        validators=(MinValueValidator(0), MaxValueValidator(86_400)),
        help_text=_(
            "In place of the first byte's, while a server that loads on demand may be loading; 0: it never does."
        ),
    )
    concurrency = models.PositiveIntegerField(_("calls at once"), default=8, validators=[MinValueValidator(1)])
    weight = models.PositiveSmallIntegerField(
        _("weight"), default=1, validators=[MinValueValidator(1)], help_text=_("Share of the calls beside others.")
    )
    takes = ArrayField(
        models.CharField(max_length=30),
        verbose_name=_("optional fields that it takes"),
        null=True,
        blank=True,
        help_text=_("Empty: all of them. What it does not take is not sent to it."),
    )
    link_local = models.BooleanField(
        _("may have a link-local address"),
        default=False,
        help_text=_("Metadata services of clouds are refused anyway."),
    )
    health_path = models.CharField(
        _("path of its health check"), max_length=200, blank=True, help_text=_("Empty: what its kind has.")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    loaded = models.JSONField(default=dict, editable=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("upstream")
        verbose_name_plural = _("upstreams")
        ordering = ["slug"]

    def __str__(self) -> str:
        return str(self.slug)


class ChatModel(models.Model):
    """A chat model as tenants see it. `sampling` holds what a request leaves open."""

    slug = models.CharField(_("slug"), primary_key=True, max_length=60, validators=[_NAME])
    title = models.CharField(_("title"), max_length=120)
    max_tokens = models.PositiveIntegerField(
        _("tokens of an answer"), default=4096, validators=[MinValueValidator(1), MaxValueValidator(1_000_000)]
    )
    max_prompt_chars = models.PositiveIntegerField(
        _("characters of a prompt"), default=32_768, validators=[MinValueValidator(1), MaxValueValidator(1_000_000)]
    )
    sampling = models.JSONField(
        _("sampling"),
        default=dict,
        blank=True,
        help_text=_('Where a request says nothing, such as {"temperature": 0.7}.'),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    public = models.BooleanField(_("for all tenants"), default=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    loaded = models.JSONField(default=dict, editable=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("chat model")
        verbose_name_plural = _("chat models")
        ordering = ["position", "slug"]

    def __str__(self) -> str:
        return self.title


class ChatTarget(models.Model):
    """That an upstream answers for a chat model, and what it calls it. `context_tokens` goes to servers that cut."""

    model = models.ForeignKey(ChatModel, verbose_name=_("chat model"), on_delete=models.CASCADE, related_name="targets")
    upstream = models.ForeignKey(Upstream, verbose_name=_("upstream"), on_delete=models.CASCADE, related_name="targets")
    name = models.CharField(_("its own name"), max_length=200)
    context_tokens = models.PositiveIntegerField(
        _("context in tokens"),
        null=True,
        blank=True,
        validators=[MinValueValidator(256)],
        help_text=_("Told to Ollama, which cuts longer prompts without a word."),
    )

    class Meta:
        verbose_name = _("upstream of a chat model")
        verbose_name_plural = _("upstreams of a chat model")
        ordering = ["id"]
        constraints = [models.UniqueConstraint("model", "upstream", name="generation_chattarget_unique")]

    def __str__(self) -> str:
        return f"{self.upstream_id}: {self.name}"


class ChatGrant(TenantModel):
    """Lets one tenant use a chat model that is not for all."""

    model = models.ForeignKey(ChatModel, verbose_name=_("chat model"), on_delete=models.CASCADE, related_name="+")

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("chat model grant")
        verbose_name_plural = _("chat model grants")
        constraints = [models.UniqueConstraint("tenant", "model", name="generation_chatgrant_unique")]

    def __str__(self) -> str:
        return f"{self.model_id} for {self.tenant_id}"


class PromptRule(TenantModel):
    """A word or pattern that a tenant's answers must not hold, and what its match does."""

    kind = models.CharField(_("kind"), max_length=8, choices=RuleKind.choices, default=RuleKind.WORD)
    action = models.CharField(_("action"), max_length=8, choices=RuleAction.choices, default=RuleAction.REDACT)
    text = models.CharField(_("word or pattern"), max_length=200)
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("rule for answers")
        verbose_name_plural = _("rules for answers")
        ordering = ["id"]
        constraints = [models.UniqueConstraint("tenant", "kind", "text", name="generation_promptrule_unique")]

    def __str__(self) -> str:
        return self.text


class ChatCall(TenantModel):
    """One chat call, from its reserve on. `outcome` is `running` until it is settled, under the fence and once.

    `tokens` are reserved, `tokens_in` and `tokens_out` were used (counted by the upstream, or by length where
    `estimated`). `prompt` and `answer` are empty unless the tenant keeps the words.
    """

    user = models.UUIDField(_("member"), null=True)
    key = models.UUIDField(_("key"), null=True)
    model = models.CharField(_("chat model"), max_length=60)
    upstream = models.CharField(_("upstream"), max_length=60, blank=True)
    lane = models.CharField(_("lane"), max_length=10)
    outcome = models.CharField(_("outcome"), max_length=12, choices=CallOutcome.choices, default=CallOutcome.RUNNING)
    finish = models.CharField(_("finish reason"), max_length=20, blank=True)
    attempts = models.PositiveSmallIntegerField(_("upstreams asked"), default=0)
    fence = models.PositiveIntegerField(default=1)
    lease_until = models.DateTimeField(null=True)
    charged_on = models.DateField(_("charged on"))
    tokens = models.PositiveIntegerField(_("tokens set aside"), default=0)
    tokens_in = models.PositiveIntegerField(_("tokens of the prompt"), default=0)
    tokens_out = models.PositiveIntegerField(_("tokens of the answer"), default=0)
    estimated = models.BooleanField(_("estimated"), default=False)
    prompt_chars = models.PositiveIntegerField(_("characters of the prompt"), default=0)
    first_byte_ms = models.PositiveIntegerField(_("first byte (ms)"), null=True)
    total_ms = models.PositiveIntegerField(_("whole (ms)"), null=True)
    prompt = models.TextField(_("prompt"), null=True)
    answer = models.TextField(_("answer"), null=True)
    created_at = models.DateTimeField(_("time"), default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("chat call")
        verbose_name_plural = _("chat calls")
        # Ids sort by time, so lists and retention go by them. A call's own row is written twice, and each index costs
        # each time: there is none that only a filter of a list would use.
        indexes = [
            models.Index(fields=["tenant", "key"], name="generation_chatcall_running", condition=Q(outcome="running")),
            models.Index(
                fields=["tenant", "created_at"],
                name="generation_chatcall_words",
                condition=Q(prompt__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.created_at:%Y-%m-%d %H:%M:%S} UTC"
