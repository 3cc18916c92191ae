"""What the page says about the demo model: its samples, and the words in a prompt that it has never seen."""

from __future__ import annotations

from collections.abc import Collection

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from generation.engine.catalog import ModelSpec
from generation.engine.demo.words import GROUPS, SAMPLES, unknown_words

DEMO_PATH = "generation/engine/demo/checkpoint"
NAMED = 8  # unknown words; a pasted page of text would name hundreds
READ = 2000  # characters of a prompt that are looked at: the demo reads fewer


def is_demo(spec: ModelSpec) -> bool:
    """Whether an entry is the checkpoint of this repository, whatever staff call it."""
    return spec.path.rstrip("/") == DEMO_PATH


def samples() -> list[str]:
    """Prompts that the demo model draws well, in the page's language."""
    return [chinese if _is_chinese() else english for english, chinese in SAMPLES]


def name_unknown(prompt: str, *, learnt: Collection[str] = ()) -> tuple[list[str], int]:
    """The first unknown words of a prompt, and how many more there are; `learnt` are those that LoRAs add."""
    found = [word for word in unknown_words(prompt[:READ]) if word not in learnt]
    return found[:NAMED], max(0, len(found) - NAMED)


def known_words() -> list[tuple[str, str]]:
    """(title, words) of everything that the demo model can draw, in the page's language."""
    titles = {
        "colours": _("colours"),
        "shapes": _("shapes"),
        "sizes": _("sizes"),
        "places": _("places"),
        "objects": _("things"),
        "grounds": _("grounds"),
        "times": _("times"),
    }
    comma = "、" if _is_chinese() else ", "
    rows = []
    for group, words in GROUPS.items():
        names = [(word.zh if _is_chinese() else word.en)[:1] for word in words]
        rows.append((titles.get(group, group), comma.join(name[0] for name in names if name)))
    return rows


def _is_chinese() -> bool:
    return (get_language() or "").startswith("zh")
