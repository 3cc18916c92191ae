"""Conversations of the chat page: each is one member's own, its messages in one row each, and presets of theirs.

Nobody else sees them: not the tenant's admins, and the admin of staff has no page for them.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.enums import MessageRole, MessageStatus


class Conversation(TenantModel):
    """`system` is what the model is told before everything else. `updated_at` is the time of its last turn."""

    user = models.UUIDField(_("member"))
    title = models.CharField(_("title"), max_length=120)
    folded = models.CharField(max_length=2500)  # the title, as searches compare it
    model = models.CharField(_("chat model"), max_length=60)
    system = models.TextField(_("system prompt"), blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [models.Index(fields=["tenant", "user", "-updated_at", "-id"], name="generation_conversation_own")]

    def __str__(self) -> str:
        return str(self.pk)  # its title is its member's


class Message(TenantModel):
    """One turn: what the member said, or the model's answer, which is a row before its first word comes.

    `place` counts from 0. An answer is written by whoever has claimed it, under `fence`, for as long as `lease_until`
    is renewed; `attempt` counts the claims. `stop` is the member's wish, `watched_at` the last time that another
    process than its writer had somebody look at it. `left_out` are earlier messages that the model was not sent.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    user = models.UUIDField(_("member"))
    place = models.PositiveIntegerField()
    role = models.CharField(max_length=10, choices=MessageRole.choices)
    status = models.CharField(max_length=10, choices=MessageStatus.choices, default=MessageStatus.DONE)
    text = models.TextField(default="")
    reasoning = models.TextField(default="")
    folded = models.TextField(default="")  # the text, as searches compare it
    model = models.CharField(max_length=60, default="")
    finish = models.CharField(max_length=20, default="")
    code = models.CharField(max_length=40, default="")  # of what refused it, or broke it off
    detail = models.CharField(max_length=500, default="")
    left_out = models.PositiveIntegerField(default=0)
    tokens_in = models.PositiveIntegerField(null=True)
    tokens_out = models.PositiveIntegerField(null=True)
    total_ms = models.PositiveIntegerField(null=True)
    fence = models.PositiveIntegerField(default=0)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    stop = models.BooleanField(default=False)
    watched_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            models.UniqueConstraint("tenant", "conversation", "place", name="generation_message_place"),
            # One answer at a time; by it the sweep finds what nobody writes any more.
            models.UniqueConstraint(
                fields=["tenant", "conversation"],
                name="generation_message_active",
                condition=Q(status__in=("waiting", "running")),
            ),
        ]


class ChatPreset(TenantModel):
    """A system prompt that a member has kept under a name."""

    user = models.UUIDField(_("member"))
    name = models.CharField(_("name"), max_length=60)
    text = models.TextField(_("system prompt"))
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("preset")
        verbose_name_plural = _("presets")
        ordering = ["id"]
        constraints = [models.UniqueConstraint("tenant", "user", Lower("name"), name="generation_chatpreset_name")]

    def __str__(self) -> str:
        return str(self.pk)
