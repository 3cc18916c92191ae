"""Names that people give: to themselves and to their organisations; and what an e-mail address may be made of."""

from __future__ import annotations

import unicodedata

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
# What turns the direction of writing: a name with one makes the words after it look like others.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_one_line(name: str) -> bool:
    """Whether a name can stand in a sentence of ours, in mails to strangers too: no lines of its own, no tricks."""
    return not any(char in _TURNS or unicodedata.category(char) in _CONTROLS for char in name)


def is_plain_email(email: str) -> bool:
    """Whether an address says what it seems to: Django's check lets terminal codes through in quotes, and ſ for s."""
    return email.isprintable() and email.rpartition("@")[0].isascii()
