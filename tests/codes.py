"""`docs/errors.md`, printed from the catalogue of codes: `python -m tests.codes` writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accounts.domain.codes import Entry, Place

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"

HEAD = """# Codes

Every refusal carries a `code`, every failed generation an `error.code`, and what waits or was drawn differently than
asked for says so by a code too. Programs branch on them: they do not change within `/api/v1`. Sentences do, and pages
show them in the reader's language.

This page is printed from `accounts/domain/codes.py` and `generation/domain/codes.py`: `python -m tests.codes`.
"""


def print_page() -> str:
    """The whole page, in English."""
    from django.utils.translation import override

    from accounts.domain.codes import CATALOGUE, Place

    with override("en"):
        parts = [HEAD]
        for place, title in _titles(Place).items():
            entries = sorted(
                (entry for entry in CATALOGUE.values() if entry.place is place),
                key=lambda entry: (entry.status, entry.code),
            )
            parts.append(_print_table(title, entries, with_status=place is Place.PROBLEM))
    return "\n".join(parts)


def _titles(places: type[Place]) -> dict[Place, str]:
    return {
        places.PROBLEM: "Refusals: `code`",
        places.GENERATION: "Failed generations: `error.code` (none of them is charged)",
        places.QUEUE: "Why a generation waits beside its turn: `queue.reason.code`",
        places.WARNING: "What to know about a picture: `warnings[].code`",
    }


def _print_table(title: str, entries: list[Entry], *, with_status: bool) -> str:
    names = ["code", *(["status"] if with_status else []), "what it means", "what to do", "try again?"]
    lines = [f"## {title}", "", f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for entry in entries:
        words = [f"`{entry.code}`", *([str(entry.status)] if with_status else [])]
        words += [str(entry.sentence), str(entry.action), str(entry.retry.value)]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "qwenstudio.settings"
    os.environ.setdefault("SECRET_KEY", "codes")
    import django

    django.setup()
    PAGE.write_text(print_page(), encoding="utf-8")
