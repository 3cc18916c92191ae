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
    IMAGE_TO_IMAGE = "image-to-image", _("image to image")
    INPAINT = "inpaint", _("inpaint")
    EDIT = "edit", _("edit by instruction")


class InputKind(models.TextChoices):
    """What an input is: a picture in RGB, or a mask in greys, white where to draw anew."""

    PICTURE = "picture", _("picture")
    MASK = "mask", _("mask")


class WorkerState(models.TextChoices):
    """What a GPU worker is doing."""

    LOADING = "loading", _("loading")
    IDLE = "idle", _("idle")
    BUSY = "busy", _("drawing")
    DRAINED = "drained", _("drained")
    STOPPING = "stopping", _("stopping")
    STOPPED = "stopped", _("stopped")
    FAILED = "failed", _("failed")


class Act(models.TextChoices):
    """What is done with a selection."""

    ZIP = "zip", _("zip")
    DELETE = "delete", _("delete")


class SelectionStatus(models.TextChoices):
    """Where that is. A zip becomes `ready` and expires, or is withdrawn when its pictures go; a deletion is `done`."""

    WAITING = "waiting", _("waiting")
    RUNNING = "running", _("running")
    READY = "ready", _("ready")
    DONE = "done", _("done")
    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("expired")
    WITHDRAWN = "withdrawn", _("withdrawn")  # pictures in it were deleted


class OutputFormat(models.TextChoices):
    PNG = "png", "PNG"
    JPEG = "jpeg", "JPEG"
    WEBP = "webp", "WebP"


class LaneState(models.TextChoices):
    """Where a lane is. Exactly one is `serving`: new visitors come there."""

    STOPPED = "stopped", _("stopped")
    STARTING = "starting", _("starting")
    READY = "ready", _("ready")
    PROMOTING = "promoting", _("being promoted")
    SERVING = "serving", _("serving")
    STANDBY = "standby", _("standing by")  # served before; a rollback goes there
    RETURNING = "returning", _("being rolled back to")
    DRAINING = "draining", _("draining")
    DRAINED = "drained", _("drained")
    STOPPING = "stopping", _("stopping")
    FAILED = "failed", _("failed")


LANE_MOVES: dict[str, frozenset[str]] = {
    LaneState.STOPPED: frozenset({LaneState.STARTING}),
    LaneState.STARTING: frozenset({LaneState.READY, LaneState.FAILED, LaneState.STOPPING}),
    LaneState.READY: frozenset(
        {LaneState.PROMOTING, LaneState.DRAINING, LaneState.STOPPING, LaneState.FAILED, LaneState.STARTING}
    ),
    LaneState.PROMOTING: frozenset({LaneState.SERVING, LaneState.READY, LaneState.FAILED}),
    LaneState.SERVING: frozenset({LaneState.STANDBY, LaneState.READY}),
    LaneState.STANDBY: frozenset({LaneState.RETURNING, LaneState.DRAINING, LaneState.STOPPING}),
    LaneState.RETURNING: frozenset({LaneState.SERVING, LaneState.STANDBY}),
    LaneState.DRAINING: frozenset({LaneState.DRAINED, LaneState.RETURNING}),
    LaneState.DRAINED: frozenset({LaneState.RETURNING, LaneState.STOPPING}),
    LaneState.STOPPING: frozenset({LaneState.STOPPED}),
    LaneState.FAILED: frozenset({LaneState.STARTING, LaneState.DRAINING, LaneState.STOPPING}),
}


class ReleaseState(models.TextChoices):
    """What became of one release in one lane."""

    TRYING = "trying", _("being tried")
    CURRENT = "current", _("serves")
    PREVIOUS = "previous", _("served before")
    WITHDRAWN = "withdrawn", _("taken back")
    FAILED = "failed", _("failed")
    ENDED = "ended", _("ended")


RELEASE_MOVES: dict[str, frozenset[str]] = {
    ReleaseState.TRYING: frozenset({ReleaseState.CURRENT, ReleaseState.FAILED, ReleaseState.ENDED}),
    # Ended without a successor in the other lane: an installation has put another one in its place.
    ReleaseState.CURRENT: frozenset({ReleaseState.PREVIOUS, ReleaseState.WITHDRAWN, ReleaseState.ENDED}),
    ReleaseState.PREVIOUS: frozenset({ReleaseState.CURRENT, ReleaseState.ENDED}),
    ReleaseState.WITHDRAWN: frozenset({ReleaseState.CURRENT, ReleaseState.FAILED, ReleaseState.ENDED}),
    ReleaseState.FAILED: frozenset({ReleaseState.ENDED}),
    ReleaseState.ENDED: frozenset(),
}


class ReleaseMode(models.TextChoices):
    """How the GPU workers of two lanes share the GPUs."""

    SIDE_BY_SIDE = "side-by-side", _("side by side")  # both hold their models at once
    HAND_OVER = "hand-over", _("hand-over")  # the old one's end before the new one's load


REFERENCES = "references"
"""What a lane is compared with where the other one does not draw: stored pictures (`Comparison.against`)."""


class Verdict(models.TextChoices):
    """What a comparison of two lanes' pictures says; the worst of its parts counts."""

    GREEN = "green", _("green")  # as before
    YELLOW = "yellow", _("yellow")  # somebody should look
    RED = "red", _("red")  # not to be promoted


class Tolerance(models.TextChoices):
    """How much a golden picture may differ (`generation/releases/compare/limits.py` has the numbers)."""

    EXACT = "exact", _("exact")
    CLOSE = "close", _("close")
    LOOSE = "loose", _("loose")


class UpstreamKind(models.TextChoices):
    """What an upstream speaks (`generation/chat/upstreams`)."""

    OPENAI = "openai", _("OpenAI's API")
    OLLAMA = "ollama", _("Ollama's API")


class RuleKind(models.TextChoices):
    """What a rule for answers looks for (`generation/chat/filters`)."""

    WORD = "word", _("word")
    PATTERN = "pattern", _("pattern")


class RuleAction(models.TextChoices):
    """What its match does."""

    REDACT = "redact", _("cut it out")
    STOP = "stop", _("end the answer")


class CallOutcome(models.TextChoices):
    """What came of a chat call (`generation/chat/record.py`; `lost`: its process died, and the sweep has closed it)."""

    RUNNING = "running", _("running")
    DONE = "done", _("done")
    STOPPED = "stopped", _("ended by a rule")
    CLIENT_GONE = "client_gone", _("the client left")
    REFUSED = "refused", _("refused by the upstream")
    UNAVAILABLE = "unavailable", _("no upstream answered")
    BROKEN = "broken", _("broke off")
    BLOCKED = "blocked", _("blocked")
    REVOKED = "revoked", _("revoked")
    LOST = "lost", _("lost with its process")


class MessageRole(models.TextChoices):
    """Who has said a message of a conversation."""

    USER = "user", _("you")
    ASSISTANT = "assistant", _("model")


class MessageStatus(models.TextChoices):
    """How far a message is; what a member said is done at once."""

    WAITING = "waiting", _("waiting")
    RUNNING = "running", _("running")
    DONE = "done", _("done")
    STOPPED = "stopped", _("stopped")
    FAILED = "failed", _("failed")  # refused before its first word
    BROKEN = "broken", _("broken off")


ANSWERING = frozenset({MessageStatus.WAITING.value, MessageStatus.RUNNING.value})
"""An answer is under way; from `waiting` to `running` or an end, from `running` to an end, from there nowhere."""
