"""What a comparison found, in sentences: for the command and for the page, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from generation.enums import Verdict


def say_verdict(verdict: str) -> str:
    """One word for a verdict."""
    return str(Verdict(verdict).label) if verdict in Verdict.values else "–"


def say_error(code: str) -> str:
    """Why there is no picture."""
    return {
        "bad_frame": _("NaN or a black frame"),
        "out_of_memory": _("out of memory"),
        "engine_error": _("the model failed while drawing"),
        "lost": _("every worker that took it was lost"),
        "refused": _("the model's entry does not allow it"),
        "timeout": _("not drawn in time"),
        "moved": _("its worker went away meanwhile"),
        "not_served": _("no worker serves the model"),
        "elsewhere": _("another lane or release has drawn it"),
        "not_alone": _("it was drawn together with others"),
        "no_file": _("its file is gone"),
        "other_file": _("its file is not what was stored"),
        "unreadable": _("its file is no picture"),
        "no_reference": _("nothing is stored of it"),
        "no_input": _("there is no picture to start from"),
        "picture_refused": _("the picture that it starts from was refused"),
        "input_refused": _("the picture that it starts from cannot be read"),
        "canceled": _("somebody has cancelled it"),
        "bad_tasks": _("its tasks.toml cannot be read"),
        "empty": _("the answer is empty"),
        "sentiment_unclear": _("the answer is no mood"),
        "chat_unavailable": _("no server answers"),
        "chat_broken": _("the answer broke off"),
    }.get(code, code)


def say_reason(reason: Mapping[str, Any]) -> str:
    """One thing that is wrong."""
    code = reason["code"]
    numbers = {"value": reason.get("value"), "limit": reason.get("limit")}
    if code == "ssim":
        return _("SSIM is %(value).3f, under %(limit).3f") % numbers
    if code == "bits":
        return _("%(value)d of 64 bits of the hash differ, more than %(limit)d") % numbers
    if code == "colour":
        return _("the colours are %(value).1f apart, more than %(limit).1f") % numbers
    if code == "slower":
        return _("%(value).1f times as slow, more than %(limit).1f") % numbers
    if code == "size":
        sizes = {name: " × ".join(map(str, reason[name])) for name in ("new", "old")}
        return _("%(new)s pixels instead of %(old)s") % sizes
    if code == "outside":
        return _("%(value)d pixels outside the mask are not those of the picture it starts from") % numbers
    if code in _TEXT_CODES:
        return _say_text(code, reason)
    error = say_error(str(reason.get("error", "")))
    return {
        "failed": _("it failed: %(error)s") % {"error": error},
        "both_failed": _("it failed on both sides: %(error)s") % {"error": error},
        "old_failed": _("there is no picture of before: %(error)s") % {"error": error},
        "no_reference": _("nothing is stored to compare it with"),
        "no_input": _("there is no picture to start from"),
        "black": _("the picture is black"),
        "blank": _("the picture is one colour all over"),
        "unreadable": _("its file is no picture"),
    }.get(code, str(code))


_TEXT_CODES = frozenset(
    {
        "label",
        "wrong_label",
        "scores",
        "agreement",
        "tasks",
        "language",
        "refusal",
        "length",
        "words",
        "late",
        "old_unsaid",
    }
)


def _say_text(code: str, reason: Mapping[str, Any]) -> str:
    """What is wrong with a text."""
    if code == "label":
        return _("%(new)s instead of %(old)s; right is %(wanted)s") % dict(reason)
    if code == "wrong_label":
        return _("%(new)s, right is %(wanted)s") % dict(reason)
    if code == "scores":
        return _("a probability has moved by %(value).2f, more than %(limit).2f") % dict(reason)
    if code == "agreement":
        return _("%(new)d of %(of)d moods are right, before %(old)d") % dict(reason)
    if code == "tasks":
        return _("it is asked in another way: %(fields)s") % {"fields": ", ".join(reason["fields"])}
    if code == "length":
        return _("%(new)d characters instead of %(old)d") % dict(reason)
    if code == "late":
        return _("the answer took %(time)s") % {"time": say_ms(reason["value"])}
    if code == "old_unsaid":
        return _("there is no answer of before: %(error)s") % {"error": say_error(str(reason["error"]))}
    return {
        "language": _("it answers in another language"),
        "refusal": _("it refuses to answer"),
        "words": _("it answers in other words"),
    }[code]


def say_reasons(reasons: list[Mapping[str, Any]]) -> str:
    """All of them."""
    return "; ".join(say_reason(reason) for reason in reasons)


def say_distance(ssim: float | None, bits: int | None, colour: float | None) -> str:
    """How far apart two pictures are."""
    if ssim is None or bits is None or colour is None:
        return ""
    numbers = {"ssim": ssim, "bits": bits, "colour": colour}
    return _("SSIM %(ssim).3f, hash %(bits)d of 64, colour %(colour).1f") % numbers


def say_ms(ms: float | None) -> str:
    """A latency."""
    if ms is None:
        return "–"
    return _("%(n)d ms") % {"n": round(ms)} if ms < 10_000 else _("%(n).1f s") % {"n": ms / 1000}


def say_times(row: Mapping[str, Any]) -> str:
    """A model's median drawing times, new against old."""
    new, old = row["new_ms"], row["old_ms"]
    if row.get("texts"):
        right = _("%(new)d of %(of)d moods right") % row["right"]
        times = _("%(new)s an answer against %(old)s") % {"new": say_ms(new), "old": say_ms(old)}
        return f"{right}; {times}"
    if new is None or old is None:
        return _("drawing times cannot be compared")
    return _("%(new)s a picture against %(old)s") % {"new": say_ms(new), "old": say_ms(old)}
