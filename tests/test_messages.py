"""Every sentence of the pages has its Chinese, and the compiled catalogue is the one that was written."""

from __future__ import annotations

import re

import polib

from tests.messages import MO, PO, messages

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w+\}|</?\w+")


def test_every_sentence_is_translated() -> None:
    catalogue = {(entry.msgid, entry.msgid_plural): entry for entry in polib.pofile(str(PO))}
    wanted = {(message.text, message.plural) for message in messages()}
    assert len(wanted) > 200
    assert wanted - catalogue.keys() == set(), "run python -m tests.messages"
    assert catalogue.keys() - wanted == set(), "run python -m tests.messages"
    assert [entry.msgid for entry in catalogue.values() if not entry.translated()] == []


def test_placeholders_survive() -> None:
    for entry in polib.pofile(str(PO)):
        chinese = "".join(entry.msgstr_plural.values()) or entry.msgstr
        english = entry.msgid_plural or entry.msgid  # Chinese has but one form, for every number
        assert set(PLACEHOLDER.findall(chinese)) == set(PLACEHOLDER.findall(english)), entry.msgid


def test_the_compiled_catalogue_is_current() -> None:
    assert MO.read_bytes() == polib.pofile(str(PO)).to_binary()
