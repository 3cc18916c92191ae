"""What somebody asked for."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.base import TenantModel
from generation.enums import Status, Task

# Of `params`; a lane claims only rows whose version it knows. A row has the lowest version that says all of it, so that
# during an update the release before draws what it can.
SCHEMA_VERSION = 1
LORA_VERSION = 2  # `loras` is not empty: a release before it would draw such a row without its LoRAs
TASK_VERSION = 3  # another task than text to image: a release before it would draw such a row from noise alone


class Generation(TenantModel):
    """One prompt, one or more images. The row is the queue entry: status, lease and fence live here."""

    # Who and where
    user = models.UUIDField(_("member"), null=True)
    key = models.UUIDField(_("key"), null=True)
    lane = models.CharField(_("lane"), max_length=10)
    pool = models.CharField(_("pool"), max_length=40)
    model = models.ForeignKey("generation.Model", verbose_name=_("model"), on_delete=models.PROTECT, related_name="+")

    # What
    task = models.CharField(_("task"), max_length=20, choices=Task.choices, default=Task.TEXT_TO_IMAGE)
    prompt = models.TextField(_("prompt"))
    # The prompt as searches read it (`domain/searchtext.py`); none in rows of before, until the sweep has come by.
    folded = models.TextField(null=True, editable=False)
    negative_prompt = models.TextField(_("negative prompt"), blank=True)
    width = models.PositiveIntegerField(_("width"))
    height = models.PositiveIntegerField(_("height"))
    steps = models.PositiveSmallIntegerField(_("steps"))
    seed = models.BigIntegerField(_("seed"))  # of the first image; image i has seed + i
    n = models.PositiveSmallIntegerField(_("images"), default=1)
    params = models.JSONField(_("parameters"), default=dict)  # true_cfg_scale, loras, images, mask, strength, …
    schema_version = models.PositiveSmallIntegerField(default=SCHEMA_VERSION)
    batch_key = models.CharField(max_length=64)
    retry_of = models.UUIDField(_("again of"), null=True)
    request_id = models.CharField(_("request"), max_length=40, blank=True)  # of the submit, as the log lines have it
    starred = models.BooleanField(_("starred"), default=False)

    # Where it is
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.QUEUED)
    priority = models.SmallIntegerField(_("priority"), default=0)  # orders a tenant's own rows only
    done = models.PositiveSmallIntegerField(_("images done"), default=0)  # images stored so far
    attempt = models.PositiveSmallIntegerField(_("own failures"), default=0)  # failures of its own
    lost = models.PositiveSmallIntegerField(_("lost leases"), default=0)  # leases that ran out under it
    fence = models.BigIntegerField(_("fence"), default=0)
    lease_until = models.DateTimeField(_("lease until"), null=True)
    worker = models.UUIDField(_("worker"), null=True)
    step = models.PositiveSmallIntegerField(_("step"), default=0)  # of the running pass, as of the last renewal
    cancel_requested_at = models.DateTimeField(_("asked to cancel"), null=True)
    # Cancelled because we were too slow for a client that waited: what ran without a picture is not charged.
    cancel_is_free = models.BooleanField(_("cancelled at our cost"), default=False, db_default=False)
    error_code = models.CharField(_("error"), max_length=40, blank=True)
    error_message = models.CharField(_("what went wrong"), max_length=500, blank=True)
    warnings = models.JSONField(_("warnings"), default=list)

    # What it costs, in GPU milliseconds
    estimate_ms = models.BigIntegerField(_("estimate in GPU ms"), default=0)  # for all n images
    claimed_ms = models.BigIntegerField(default=0)  # what the running claim added to the tenant's clock, unweighted
    cost_ms = models.BigIntegerField(_("cost in GPU ms"), default=0)  # measured so far
    charged_on = models.DateField(_("charged on"))  # the UTC day whose counters hold the reserve

    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    queued_at = models.DateTimeField(_("queued at"), default=timezone.now)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("generation")
        verbose_name_plural = _("generations")
        # Staff see a generation without its prompts unless they have this.
        permissions = [("read_prompts", "Can read prompts")]
        indexes = [
            # head of a tenant's queue
            models.Index(
                fields=["lane", "tenant", "model", "-priority", "queued_at", "id"],
                name="generation_queue_head",
                condition=Q(status="queued"),
            ),
            # filling a pass with rows of one batch key
            models.Index(
                fields=["lane", "batch_key", "tenant", "-priority", "queued_at", "id"],
                name="generation_queue_fill",
                condition=Q(status="queued"),
            ),
            models.Index(fields=["lease_until"], name="generation_lease", condition=Q(status="running")),
            # the gallery
            models.Index(fields=["tenant", "-created_at", "-id"], name="generation_history"),
            # its filters that find few of many rows
            models.Index(fields=["tenant", "-created_at", "-id"], name="generation_starred", condition=Q(starred=True)),
            models.Index(
                fields=["tenant", "-created_at", "-id"],
                name="generation_undrawn",
                condition=Q(status__in=("failed", "canceled")),
            ),
            models.Index(fields=["tenant", "user", "-created_at", "-id"], name="generation_member"),
            # rows that the sweep has to fold
            models.Index(fields=["id"], name="generation_unfolded", condition=Q(folded=None)),
            # staff's list and search
            models.Index(fields=["-created_at", "-id"], name="generation_all"),
            models.Index(fields=["request_id"], name="generation_request", condition=~Q(request_id="")),
            models.Index(fields=["-finished_at"], name="generation_failed", condition=Q(status="failed")),
        ]

    def __str__(self) -> str:
        # No prompt: titles stand where prompts are not for everybody.
        size = f"{self.n} × {self.width} × {self.height}"
        return f"{self.model_id}, {size}, {self.created_at:%Y-%m-%d %H:%M:%S} UTC"


class Idempotency(TenantModel):
    """An `Idempotency-Key` of the last 24 hours: which generation it made, for which body."""

    caller = models.UUIDField()  # the key's id, or the member's: another caller's key is another key
    idempotency_key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    generation = models.ForeignKey(
        Generation, on_delete=models.CASCADE, related_name="+", null=True, db_constraint=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        constraints = [
            models.UniqueConstraint("tenant", "caller", "idempotency_key", name="generation_idempotency_unique")
        ]
        indexes = [models.Index(fields=["created_at"], name="generation_idempotency_age")]


class Failure(TenantModel):
    """What a worker logged about a row that failed in its hands: for staff, kept for 30 days, no prompts in it."""

    generation = models.ForeignKey(
        Generation, verbose_name=_("generation"), on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    worker = models.UUIDField(_("worker"), null=True)
    worker_name = models.CharField(_("worker"), max_length=120, blank=True)
    code = models.CharField(_("code"), max_length=40)
    lines = models.TextField(_("lines"), blank=True)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)

    class Meta(TenantModel.Meta):
        abstract = False
        verbose_name = _("failure")
        verbose_name_plural = _("failures")
        indexes = [
            models.Index(fields=["tenant", "generation"], name="generation_failure_row"),
            models.Index(fields=["-created_at"], name="generation_failure_time"),
        ]

    def __str__(self) -> str:
        return f"{self.code}, {self.created_at:%Y-%m-%d %H:%M:%S} UTC"
