"""Refusals of generation's domain."""

from __future__ import annotations

from accounts.errors import QuotaExceeded, StudioError


class ModelNotFound(StudioError):
    """No such model, or not one of this tenant's: the two answers are the same."""

    kind = "invalid"
    code = "model_not_found"


class GenerationNotFound(StudioError):
    kind = "missing"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no such image generation")


class FileNotFound(StudioError):
    """No such file, or not one of this caller's: the two answers are the same."""

    kind = "missing"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no such file")


class WebhookNotFound(StudioError):
    """No such webhook endpoint, or another tenant's: the two answers are the same."""

    kind = "missing"
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("no such webhook endpoint", field="webhook")


class AlreadyFinished(StudioError):
    """Cancelling what has ended already."""

    kind = "conflict"
    code = "already_finished"


class NotFinished(StudioError):
    """Retrying or removing what still waits or runs."""

    kind = "conflict"
    code = "not_finished"


class StillRunning(StudioError):
    """The first request with this idempotency key has not been answered yet."""

    kind = "conflict"
    code = "idempotency_in_progress"


class KeyReused(StudioError):
    """The same idempotency key came with another body."""

    kind = "mismatch"
    code = "idempotency_key_reused"


class NoPictures(StudioError):
    """A zip of generations that have none."""

    kind = "conflict"
    code = "no_pictures"

    def __init__(self) -> None:
        super().__init__("none of these generations has a picture")


class SelectionUnderWay(StudioError):
    """As many zips, or deletions, of one member are under way as may be."""

    kind = "conflict"
    code = "selection_under_way"

    def __init__(self) -> None:
        super().__init__("three of yours are under way already; wait until one of them is done")


class QueueFull(QuotaExceeded):
    """As many generations of a tenant wait as its plan lets wait."""

    code = "queue_full"


class ReleaseRefused(StudioError):
    """A step of a release that does not follow from where the lanes are; the message says what to type."""

    kind = "conflict"
    code = "release_refused"


class ReleaseFailed(StudioError):
    """A step of a release that was tried and did not end well; the message says where things stand."""

    kind = "unavailable"
    code = "release_failed"
