"""Quotas: an append-only ledger, and the counters that are its running sums."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.enums import CounterScope, EntryKind, Metric, Period
from accounts.ids import uuid7
from accounts.models.base import TenantModel


class LedgerEntry(TenantModel):
    """One movement. `amount` is signed: a reserve is positive, a refund negative, a settle the rest to its reserve.

    The sum over a `ref` is therefore what that piece of work has cost in the end.
    """

    # "<ref>:<what>:<metric>": a second writer of the same event fails
    event_id = models.CharField(_("event"), max_length=80)
    kind = models.CharField(_("kind"), max_length=8, choices=EntryKind.choices)
    metric = models.CharField(_("metric"), max_length=8, choices=Metric.choices)
    amount = models.BigIntegerField(_("amount"))
    ref = models.UUIDField(_("for"), null=True)
    user = models.UUIDField(_("member"), null=True)
    key = models.UUIDField(_("key"), null=True)
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    label = models.CharField(_("model"), max_length=60, blank=True)  # what did the work; outlives the work's own row
    charged_on = models.DateField(_("charged on"))  # the UTC day of the reserve, for the refund and settle too
    created_at = models.DateTimeField(_("time"), default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        constraints = [models.UniqueConstraint("tenant", "event_id", name="accounts_ledgerentry_event")]
        indexes = [
            models.Index(fields=["tenant", "ref"], name="accounts_ledger_ref"),
            models.Index(fields=["tenant", "charged_on"], name="accounts_ledger_day"),
            models.Index(fields=["-created_at", "-id"], name="accounts_ledger_all"),  # staff's list
            # what was cancelled while it waited
            models.Index(
                fields=["tenant", "charged_on"],
                name="accounts_ledger_cancels",
                condition=Q(kind="refund", metric="images", reason="canceled"),
            ),
            # which models a tenant has used: one of a piece of work's entries is enough
            models.Index(
                fields=["tenant", "label"],
                name="accounts_ledger_models",
                condition=Q(kind="reserve") & ~Q(metric="gpu_ms"),
            ),
        ]

    def __str__(self) -> str:
        what = f"{self.get_kind_display()} {self.amount:+} {self.get_metric_display()}"
        return f"{what}, {self.created_at:%Y-%m-%d %H:%M:%S} UTC"


class Counter(TenantModel):
    """Used and reserved amounts of one scope, metric and period. Rebuilt from the ledger on demand."""

    scope = models.CharField(max_length=6, choices=CounterScope.choices)
    scope_id = models.UUIDField()
    metric = models.CharField(max_length=8, choices=Metric.choices)
    period = models.CharField(max_length=5, choices=Period.choices)
    starts_on = models.DateField()
    used = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint(
                "tenant", "scope", "scope_id", "metric", "period", "starts_on", name="accounts_counter_unique"
            )
        ]
        indexes = [
            # what all tenants used on one day, for staff
            models.Index(
                fields=["starts_on", "metric"],
                name="accounts_counter_day",
                condition=models.Q(scope="tenant", period="day"),
            )
        ]


class LimitNotice(TenantModel):
    """That somebody was told how much of a limit is used; the unique row is what makes it once per period."""

    limit = models.CharField(max_length=90)  # "images_per_day", or "member:<id>:images_per_day"
    starts_on = models.DateField()
    percent = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint("tenant", "limit", "starts_on", "percent", name="accounts_limitnotice_unique")
        ]
