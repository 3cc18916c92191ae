"""Whether a secret could be guessed."""

from __future__ import annotations

LEAST_KEY = 40
"""Characters of a signing or encryption key: 160 bits in hexadecimal, 240 in base64."""
LEAST_PASSWORD = 16
FEW = 6
"""Different characters: 16 random hexadecimal digits have 10 on average, and fewer than 6 once in some thousands."""
WELL_KNOWN = (
    "django-insecure",
    "changeme",
    "change-me",
    "change_me",
    "password",
    "passw0rd",
    "replace-me",
    "your-secret",
    "your_secret",
    "secret-key",
    "secret_key",
    "example",
    "qwenstudio",
    "01234567",
    "12345678",
    "abcdefgh",
    "qwertz",
    "qwerty",
)
"""Pieces of secrets that stand in documentation and lists; none appears by chance."""


def weakness(secret: str, *, least: int, other_than: str = "") -> str:
    """What is wrong with a secret, as the end of "it …"; empty where it is well. Never holds any of its letters."""
    lowered = secret.lower()
    if not secret:
        return "is empty"
    if other_than and lowered == other_than.lower():
        return "is the user's name"
    if any(piece in lowered for piece in WELL_KNOWN):
        return "is a well-known one"
    if len(secret) < least:
        return f"has fewer than {least} characters"
    if len(set(secret)) < FEW:
        return "repeats a few characters"
    return ""
