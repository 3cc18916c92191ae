"""The queue's own tables: pools, workers, virtual clocks, measured costs. Global; none holds a tenant's data."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.ids import uuid7
from generation.enums import Task, WorkerState


class Pool(models.Model):
    """The workers of one lane that serve the same models; staff may pause it."""

    lane = models.CharField(_("lane"), max_length=10)
    name = models.CharField(_("pool"), max_length=40)
    paused_at = models.DateTimeField(_("paused"), null=True, blank=True)
    paused_reason = models.CharField(_("reason"), max_length=200, blank=True)
    paused_by = models.UUIDField(_("paused by"), null=True, editable=False)
    vtime = models.FloatField(default=0, editable=False)  # the clock of the tenant served last, as it was served

    class Meta:
        verbose_name = _("pool")
        verbose_name_plural = _("pools")
        constraints = [models.UniqueConstraint("lane", "name", name="generation_pool_unique")]

    def __str__(self) -> str:
        return f"{self.name} ({self.lane})"


class FairClock(models.Model):
    """A tenant's virtual clock in one pool of one lane (start-time fair queueing, `docs/fairness.md`).

    `vtime` is estimated GPU milliseconds divided by the weight; `queued` and `running` count its rows, `queued_ms` and
    `running_ms` add up their estimates: the web role may read these sums, other tenants' rows it may not.
    """

    lane = models.CharField(max_length=10)
    pool = models.CharField(max_length=40)
    tenant = models.UUIDField()
    weight = models.PositiveSmallIntegerField(default=1)
    vtime = models.FloatField(default=0)
    queued = models.IntegerField(default=0)
    queued_ms = models.BigIntegerField(default=0)
    running = models.IntegerField(default=0)
    running_ms = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint("lane", "pool", "tenant", name="generation_fairclock_unique")]
        indexes = [
            # of equal clocks the one with the least waiting goes first
            models.Index(
                fields=["lane", "pool", "vtime", "queued"], name="generation_clock_head", condition=Q(queued__gt=0)
            ),
            # a tenant's running generations over all pools: its concurrency
            models.Index(fields=["tenant"], name="generation_clock_tenant"),
        ]


class Cost(models.Model):
    """Measured milliseconds of one image, for a model, size, number of steps and hardware. Newest weigh most."""

    model = models.ForeignKey("generation.Model", on_delete=models.CASCADE, related_name="+")
    hardware = models.CharField(max_length=80)
    task = models.CharField(max_length=20, choices=Task.choices)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    steps = models.PositiveSmallIntegerField()
    guided = models.BooleanField(default=False)  # true CFG runs the transformer twice
    ms = models.FloatField()
    samples = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "model", "hardware", "task", "width", "height", "steps", "guided", name="generation_cost_unique"
            )
        ]


class Worker(models.Model):
    """A GPU worker process, as it last reported itself."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=120)
    pid = models.PositiveIntegerField(_("process"))
    lane = models.CharField(_("lane"), max_length=10)
    pool = models.CharField(_("pool"), max_length=40)
    serves = models.JSONField(_("models"), default=list)
    resident = models.JSONField(_("in memory"), null=True)  # of `serves`; a worker may serve more than fit
    loras = models.JSONField(_("LoRAs in memory"), null=True)  # SHA-256 of their files; null where it does not say
    state = models.CharField(_("state"), max_length=10, choices=WorkerState.choices, default=WorkerState.LOADING)
    detail = models.CharField(_("detail"), max_length=500, blank=True)
    hardware = models.CharField(_("hardware"), max_length=80, blank=True)
    device = models.CharField(_("device"), max_length=120, blank=True)
    dtype = models.CharField(_("precision"), max_length=20, blank=True)
    memory_total = models.BigIntegerField(_("memory in bytes"), default=0)
    memory_used = models.BigIntegerField(_("memory used in bytes"), default=0)
    drain_requested_at = models.DateTimeField(_("asked to drain"), null=True)
    release = models.CharField(_("release"), max_length=40, blank=True)
    load_ms = models.PositiveIntegerField(_("loading in ms"), null=True)  # from its start to its first claim
    schemas = models.JSONField(null=True)  # versions of `params` that it draws
    passes = models.BigIntegerField(_("passes"), default=0)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    class Meta:
        verbose_name = _("GPU worker")
        verbose_name_plural = _("GPU workers")
        indexes = [models.Index(fields=["lane", "pool", "seen_at"], name="generation_worker_seen")]

    def __str__(self) -> str:
        return self.name
