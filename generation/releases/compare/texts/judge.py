"""From what two sides say to a verdict: pure functions, no database."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from generation.enums import Verdict
from generation.releases.compare.judge import NO_OLD, Judged, ModelJudged, worst
from generation.releases.compare.limits import AGREEMENT, LATE_MS, LENGTH, LENGTH_CHARS, SCORES, Bound
from generation.releases.compare.texts.asking import TextPair
from generation.releases.compare.texts.cases import Said, TextCase

_REFUSAL = re.compile(
    r"^\W*(i('m| am) (sorry|unable|not able)|i (can ?not|can't|won't)|sorry|as an ai\b|很?抱歉|对不起|我(无法|不能))",
    re.IGNORECASE,
)
_CHINESE, _LETTER = re.compile(r"[\u3400-\u9fff]"), re.compile(r"[^\W\d_]")
_SHARE = 0.3  # of an answer's letters that are Chinese, from which on it is


def judge_said(pair: TextPair) -> Judged:
    """Compare what two sides say to one case."""
    case, new, old = pair.case, pair.new, pair.old or Said(error=NO_OLD)
    if new.error:
        same = new.error == old.error
        code, level = ("both_failed", Verdict.YELLOW) if same else ("failed", Verdict.RED)
        return _ended([_reason(code, level, error=new.error)])
    reasons = [_late(new, old)]
    if old.error == NO_OLD:
        reasons.append(_reason("no_reference", Verdict.YELLOW))
    elif old.error:
        reasons.append(_reason("old_unsaid", Verdict.YELLOW, error=old.error))
    reasons += _look_at_mood(case, new, old) if case.kind == "mood" else _look_at_chat(case, new, old)
    return _ended([one for one in reasons if one])


def judge_texts(model: str, pairs: Sequence[TextPair], *, changed: Sequence[str] = ()) -> ModelJudged:
    """Label agreement, latencies and errors of all cases of one chat model; `changed` fields of its tasks are told."""
    moods = [pair for pair in pairs if pair.case.kind == "mood"]
    new, old = (sum(said is not None and said.text == case.wanted for case, said in side) for side in _sides(moods))
    reasons = [_reason("tasks", Verdict.YELLOW, fields=list(changed))] if changed else []
    if moods and any(pair.old for pair in moods):
        found = _beyond("agreement", (old - new) / len(moods), AGREEMENT)
        reasons += [found | {"new": new, "old": old, "of": len(moods)}] if found else []
    asked = [pair.old for pair in pairs if pair.old is not None]
    summary = {
        "model": model,
        "texts": True,
        "cases": len(pairs),
        "right": {"new": new, "old": old if asked else None, "of": len(moods)},
        "new_ms": _median([pair.new.ms for pair in pairs if pair.new.ms is not None]),
        "old_ms": _median([said.ms for said in asked if said.ms is not None]),
        "new_wait_ms": None,
        "old_wait_ms": None,
        "new_errors": dict(Counter(pair.new.error for pair in pairs if pair.new.error)),
        "old_errors": dict(Counter(said.error for said in asked if said.error not in ("", NO_OLD))),
        "reasons": reasons,
    }
    return ModelJudged(verdict=worst(one["level"] for one in reasons), summary=summary)


def _sides(pairs: Sequence[TextPair]) -> tuple[list[tuple[TextCase, Said | None]], list[tuple[TextCase, Said | None]]]:
    return [(pair.case, pair.new) for pair in pairs], [(pair.case, pair.old) for pair in pairs]


def _look_at_mood(case: TextCase, new: Said, old: Said) -> list[dict[str, Any]]:
    """Another label than before; or the same one, and other probabilities."""
    if old.error:
        wrong = _reason("wrong_label", Verdict.YELLOW, new=new.text, wanted=case.wanted)
        return [] if new.text == case.wanted else [wrong]
    if new.text != old.text:
        return [_reason("label", Verdict.YELLOW, new=new.text, old=old.text, wanted=case.wanted)]
    if new.scores is None or old.scores is None:
        return []
    apart = max(abs(new.scores[mood] - old.scores[mood]) for mood in new.scores)
    found = _beyond("scores", apart, SCORES)
    return [found] if found else []


def _look_at_chat(case: TextCase, new: Said, old: Said) -> list[dict[str, Any]]:
    """Another language than was asked in, a refusal, another length, or at least other words."""
    spoke_well = bool(old.error) or _language(old.text) == case.wanted
    reasons = []
    if (language := _language(new.text)) != case.wanted:
        reasons.append(_reason("language", Verdict.RED if spoke_well else Verdict.YELLOW, new=language))
    if _REFUSAL.match(new.text) and not (not old.error and _REFUSAL.match(old.text)):
        reasons.append(_reason("refusal", Verdict.RED))
    if old.error:
        return reasons
    long, short = max(len(new.text), len(old.text)), min(len(new.text), len(old.text))
    if long - short >= LENGTH_CHARS and (found := _beyond("length", long / max(1, short), LENGTH)):
        reasons.append(found | {"new": len(new.text), "old": len(old.text)})
    if not reasons and new.text != old.text:
        reasons.append(_reason("words", Verdict.YELLOW))
    return reasons


def _late(new: Said, old: Said) -> dict[str, Any] | None:
    """Slower than anybody likes to wait, where it was not so before."""
    if new.ms is None or (old.ms is not None and old.ms > LATE_MS.yellow):
        return None
    return _beyond("late", new.ms, LATE_MS)


def _language(text: str) -> str:
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(_CHINESE.findall(text)) / letters >= _SHARE else "en"


def _beyond(code: str, value: float, bound: Bound) -> dict[str, Any] | None:
    if value <= bound.yellow:
        return None
    level = Verdict.RED if value > bound.red else Verdict.YELLOW
    return _reason(code, level, value=round(value, 4), limit=bound.red if level == Verdict.RED else bound.yellow)


def _reason(code: str, level: Verdict, **more: Any) -> dict[str, Any]:
    return {"code": code, "level": level.value, **more}


def _ended(reasons: list[dict[str, Any]]) -> Judged:
    return Judged(verdict=worst(one["level"] for one in reasons), reasons=tuple(reasons))


def _median(values: Sequence[int]) -> float | None:
    return round(statistics.median(values), 1) if values else None
