"""Words with a fixed set of values."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a member may do in a tenant, strongest first."""

    OWNER = "owner", _("owner")
    ADMIN = "admin", _("admin")
    MEMBER = "member", _("member")
    VIEWER = "viewer", _("viewer")


class Scope(models.TextChoices):
    """What an API key may do; a session has the scopes of its role."""

    IMAGES_READ = "images:read", "images:read"
    IMAGES_WRITE = "images:write", "images:write"
    CHAT = "chat", "chat"
    SENTIMENT = "sentiment", "sentiment"
    USAGE_READ = "usage:read", "usage:read"
    KEYS_WRITE = "keys:write", "keys:write"
    ADMIN = "admin", "admin"


class Metric(models.TextChoices):
    """What the ledger counts; the unit is in the name."""

    GPU_MS = "gpu_ms", _("GPU milliseconds")
    IMAGES = "images", _("images")
    TOKENS = "tokens", _("tokens")


class EntryKind(models.TextChoices):
    """Why a ledger entry was written."""

    RESERVE = "reserve", _("reserved")
    SETTLE = "settle", _("settled")
    REFUND = "refund", _("refunded")
    CREDIT = "credit", _("credited by staff")


class CounterScope(models.TextChoices):
    """Whose counter it is. Counters are locked in this order."""

    TENANT = "tenant", _("tenant")
    MEMBER = "member", _("member")
    KEY = "key", _("key")


class Period(models.TextChoices):
    """UTC days and months."""

    DAY = "day", _("day")
    MONTH = "month", _("month")


class TokenPurpose(models.TextChoices):
    """What a one-time token is good for."""

    SIGN_IN = "sign_in", _("sign in")
    INVITATION = "invitation", _("join a tenant")


class ErrandKind(models.TextChoices):
    """Durable pieces of other work; each has one handler (`accounts/domain/errands.py`)."""

    DELETE_FILES = "delete_files", _("delete files")
    SEND_MAIL = "send_mail", _("send an e-mail")
    EXPORT = "export", _("export a tenant")
    DELETE_TENANT = "delete_tenant", _("delete a tenant")
    DELETE_PICTURES = "delete_pictures", _("delete a person's pictures")
    ZIP = "zip", _("make a zip of pictures")
    DELETE_SELECTED = "delete_selected", _("delete selected pictures")
    DELETE_EXPIRED = "delete_expired", _("delete pictures that a plan keeps no longer")


class ExportStatus(models.TextChoices):
    """Where an export is."""

    WAITING = "waiting", _("waiting")
    RUNNING = "running", _("running")
    READY = "ready", _("ready")
    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("expired")
