"""A comparison in words, for its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.staff.deeds import say_time
from generation.engine.region import Region
from generation.enums import REFERENCES, Task, Tolerance
from generation.models import ComparedCase, Comparison
from generation.releases.compare.words import (
    say_distance,
    say_error,
    say_ms,
    say_reason,
    say_times,
    say_verdict,
)


def say_against(row: Comparison) -> str:
    """A lane, or the references, with their release."""
    name = _("the references") if row.against == REFERENCES else row.against
    return f"{name} ({row.against_release})" if row.against_release else name


def describe_comparison(row: Comparison) -> dict[str, Any]:
    """Everything that the page shows: two queries, whatever there is."""
    cases = list(row.cases.all())
    return {
        "title": _("%(release)s in %(lane)s against %(other)s")
        % {"release": row.release_name or "–", "lane": row.lane, "other": say_against(row)},
        "verdict": row.verdict,
        "word": say_verdict(row.verdict),
        "ended": row.finished_at is not None,
        "whole": row.whole,
        "by": row.by or "–",
        "started": say_time(row.started_at),
        "promoted": say_time(row.promoted_at) if row.promoted_at else "",
        "skipped": ", ".join(row.skipped),
        "models": [_model(one) for one in row.by_model],
        "cases": [_case(row, case) for case in cases],
        "new": row.lane,
        "old": say_against(row),
    }


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    reasons = row["reasons"]
    return {
        "name": row["model"],
        "cases": row["cases"],
        "times": say_times(row),
        "waits": f"{say_ms(row['new_wait_ms'])} / {say_ms(row['old_wait_ms'])}",
        "new_errors": _errors(row["new_errors"]),
        "old_errors": _errors(row["old_errors"]),
        "reasons": [{"level": one["level"], "words": say_reason(one)} for one in reasons],
    }


def _errors(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{n} × {say_error(code)}" for code, n in sorted(errors.items())) or "–"


def _case(row: Comparison, case: ComparedCase) -> dict[str, Any]:
    params = case.params
    if "kind" in params:
        return _text_case(row, case)
    size = f"{params.get('width') or '–'} × {params.get('height') or '–'}"
    return {
        "slug": case.slug,
        "model": case.model,
        "prompt": case.prompt,
        "verdict": case.verdict,
        "word": say_verdict(case.verdict),
        "reasons": [{"level": one["level"], "words": say_reason(one)} for one in case.reasons],
        "distance": say_distance(case.ssim, case.bits, case.colour),
        "tolerance": Tolerance(case.tolerance).label if case.tolerance in Tolerance.values else case.tolerance,
        "params": _("%(size)s, %(steps)s steps, seed %(seed)s")
        % {"size": size, "steps": params.get("steps") or "–", "seed": params.get("seed")},
        "task": _task(params),
        "width": params.get("width") or 256,
        "height": params.get("height") or 256,
        "sides": [*_start_side(row, case), _new_side(row, case), _old_side(row, case)],
        "same": bool(case.new_sha256) and case.new_sha256 == case.old_sha256,
    }  # fmt: skip


def _task(params: Mapping[str, Any]) -> str:
    """What is done with the picture that a case starts from; nothing of one that starts from text."""
    task = params.get("task", "")
    if not task:
        return ""
    said = [str(Task(task).label) if task in Task.values else task]
    if params.get("strength") is not None:
        said.append(_("strength %(value)s") % {"value": f"{params['strength']:g}"})
    if params.get("mask"):
        said.append(_("mask %(value)s") % {"value": params["mask"]})
    return ", ".join(said)


def _start_side(row: Comparison, case: ComparedCase) -> list[dict[str, Any]]:
    """The picture that both sides started from, with its mask drawn upon it."""
    if not case.input_sha256:
        return []
    title = _("from: %(name)s") % {"name": case.params.get("starts_from", "–")}
    return [_side(row, title, case.input_sha256, "", None, None) | {"mask": _box(case.params.get("mask", ""))}]


def _box(mask: str) -> dict[str, str]:
    """A mask as a rectangle in hundredths of the picture."""
    if not mask:
        return {}
    found = Region.parse(mask)
    values = {"x": found.left, "y": found.top, "width": found.right - found.left, "height": found.bottom - found.top}
    return {name: f"{value * 100:g}" for name, value in values.items()}


def _text_case(row: Comparison, case: ComparedCase) -> dict[str, Any]:
    """A mood or a chat: what both sides say, in the place of pictures."""
    titles = (
        ("new", _("new: %(name)s") % {"name": row.lane}),
        ("old", _("before: %(name)s") % {"name": say_against(row)}),
    )
    return {
        "slug": case.slug,
        "model": case.model,
        "prompt": case.prompt,
        "verdict": case.verdict,
        "word": say_verdict(case.verdict),
        "reasons": [{"level": one["level"], "words": say_reason(one)} for one in case.reasons],
        "sides": [_said_side(title, case.params[side]) for side, title in titles],
        "is_text": True,
        "wanted": case.params["wanted"] if case.params["kind"] == "mood" else "",
    }


def _said_side(title: str, said: Mapping[str, Any]) -> dict[str, Any]:
    scores = said["scores"] or {}
    return {
        "of": title,
        "said": said["text"],
        "error": say_error(said["error"]) if said["error"] else "",
        "times": "; ".join(
            [*(f"{mood} {value:.2f}" for mood, value in scores.items()), *([say_ms(said["ms"])] if said["ms"] else [])]
        ),
    }


def _new_side(row: Comparison, case: ComparedCase) -> dict[str, Any]:
    title = _("new: %(name)s") % {"name": row.lane}
    return _side(row, title, case.new_sha256, case.new_error, case.new_run_ms, case.new_wait_ms)


def _old_side(row: Comparison, case: ComparedCase) -> dict[str, Any]:
    title = _("before: %(name)s") % {"name": say_against(row)}
    return _side(row, title, case.old_sha256, case.old_error, case.old_run_ms, case.old_wait_ms)


def _side(
    row: Comparison, title: str, sha256: str, error: str, run_ms: int | None, wait_ms: int | None
) -> dict[str, Any]:
    times = ""
    if run_ms is not None:
        words = _("drawn in %(run)s") if wait_ms is None else _("drawn in %(run)s, waited %(wait)s")
        times = words % {"run": say_ms(run_ms), "wait": say_ms(wait_ms)}
    return {
        "of": title,
        "url": reverse("admin:generation_comparison_picture", args=[row.pk, sha256]) if sha256 else "",
        "error": say_error(error) if error else "",
        "times": times,
    }
