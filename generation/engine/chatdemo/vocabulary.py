"""Reads `en.toml` and `zh.toml`: templates, words with a mood and words without. Imports no torch."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "zh")
POSITIVE, NEUTRAL, NEGATIVE = "positive", "neutral", "negative"
MOODS = (POSITIVE, NEUTRAL, NEGATIVE)
GAPS = ("feel", "thing", "verb", "verbed", "noun", "adverb", "collapse")
"""Gaps of templates that words with a mood fill."""
Words = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Vocabulary:
    """One language. Everything is in the file's order."""

    templates: Words
    """By kind (`plain`, `negated`, `turn`, `neutral`), and by kind with `_held_out`; `openers` likewise."""
    flat: Words
    """By gap: what fills it without a mood."""
    events: Words
    """By mood: phrases with one gap; by mood with `_objects`: what fits into it."""
    moods: Mapping[str, Words]
    """By mood and gap."""
    families: Mapping[str, tuple[frozenset[str], ...]]
    """By mood: words of one root. Chinese has none, its relatives share characters."""

    def all_moods(self, mood: str) -> frozenset[str]:
        """Every word with a mood."""
        return frozenset(word for words in self.moods[mood].values() for word in words)


@cache
def read_vocabulary(language: str) -> Vocabulary:
    """The file of `en` or `zh`."""
    tables = tomllib.loads((Path(__file__).parent / f"{language}.toml").read_text(encoding="utf-8"))
    families = tables.get("families", {})
    return Vocabulary(
        templates=_tuples(tables["templates"]),
        flat=_tuples(tables["flat"]),
        events=_tuples(tables["events"]),
        moods={
            mood: _gather(families[mood]) if families else _chinese(tables["words"][mood])
            for mood in (POSITIVE, NEGATIVE)
        },
        families={mood: tuple(map(_forms, families[mood])) for mood in families},
    )


@dataclass(frozen=True)
class More:
    """What the second part of training adds; the fields are those of `Vocabulary`."""

    templates: Words
    flat: Words
    moods: Mapping[str, Words]


@cache
def read_more(language: str) -> More:
    """One language of `more.toml`."""
    table = tomllib.loads((Path(__file__).parent / "more.toml").read_text(encoding="utf-8"))[language]
    moods = {mood: _tuples(table.get("words", {}).get(mood, {})) for mood in (POSITIVE, NEGATIVE)}
    return More(templates=_tuples(table["templates"]), flat=_tuples(table["flat"]), moods=moods)


def _tuples(table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(words) for name, words in table.items()}


def _gather(families: list[dict[str, str]]) -> dict[str, tuple[str, ...]]:
    """The words of all families by gap; a verb has two, present and past."""
    found: dict[str, list[str]] = {gap: [] for gap in GAPS}
    for family in families:
        for gap, words in family.items():
            for word in words.split():
                present, _, past = word.partition("/")
                found[gap].append(present)
                if past:
                    found["verbed"].append(past)
    return {gap: tuple(words) for gap, words in found.items() if words}


def _chinese(table: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    found = _tuples(table)
    collapse = found.pop("collapse", ())
    if collapse:
        found["collapse"] = tuple(f"我{how}{word}了" for word in collapse for how in ("快", "快要", "要"))
    return found


def _forms(family: Mapping[str, str]) -> frozenset[str]:
    return frozenset(form for words in family.values() for form in re.split(r"[ /]", words))
