"""A comparison as data, for programs."""

from __future__ import annotations

from typing import Any

from generation.models import ComparedCase, Comparison
from generation.releases.compare.words import say_reason

_CASE = (
    "slug", "model", "prompt", "params", "tolerance", "verdict", "ssim", "bits", "colour", "new_sha256", "old_sha256",
    "input_sha256", "new_error", "old_error", "new_wait_ms", "old_wait_ms", "new_run_ms", "old_run_ms", "hardware",
)  # fmt: skip


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All that is known of it."""
    ended = comparison.finished_at
    return {
        "id": str(comparison.pk),
        "lane": comparison.lane,
        "release": comparison.release_name,
        "against": comparison.against,
        "against_release": comparison.against_release,
        "verdict": comparison.verdict,
        "whole": comparison.whole,
        "by": comparison.by,
        "started_at": comparison.started_at.isoformat(),
        "finished_at": ended.isoformat() if ended else None,
        "skipped": comparison.skipped,
        "models": comparison.by_model,
        "cases": [_case(row) for row in comparison.cases.all()],
    }


def _case(row: ComparedCase) -> dict[str, Any]:
    reasons = [{**reason, "words": say_reason(reason)} for reason in row.reasons]
    return {**{name: getattr(row, name) for name in _CASE}, "reasons": reasons}
