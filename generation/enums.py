"""States, with their allowed moves beside them."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Status(models.TextChoices):
    """Where a generation is. A row between two of its slices is `queued` with `done > 0`; people see `running`."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELED = "canceled", _("canceled")


MOVES: dict[str, frozenset[str]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELED, Status.FAILED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELED: frozenset(),
}
FINAL = frozenset(status for status, moves in MOVES.items() if not moves)


class Task(models.TextChoices):
    """What a pass does."""

    TEXT_TO_IMAGE = "text-to-image", _("text to image")


class WorkerState(models.TextChoices):
    """What a GPU worker is doing."""

    LOADING = "loading", _("loading")
    IDLE = "idle", _("idle")
    BUSY = "busy", _("drawing")
    DRAINED = "drained", _("drained")
    STOPPING = "stopping", _("stopping")
    STOPPED = "stopped", _("stopped")
    FAILED = "failed", _("failed")


class OutputFormat(models.TextChoices):
    PNG = "png", "PNG"
    JPEG = "jpeg", "JPEG"
    WEBP = "webp", "WebP"
