"""What the studio's own models and LoRAs are called, in the page's language: their rows have one language.

Only the words that `deploy/models.toml`, `deploy/loras.toml` and the demo chat model come with are known here. What
staff write instead stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

from django.utils.translation import gettext, gettext_noop

from accounts.domain.callers import Caller
from generation.books.offers import visible_chat_models
from generation.chat.books import Listed

WORDS = frozenset((
    gettext_noop("Demo"),
    gettext_noop(
        "Draws coloured shapes and little scenes in 256 pixels: small enough for a laptop, "
        "the same classes as the large model."
    ),
    gettext_noop("Demo portraits"),
    gettext_noop("Draws faces in 128 pixels: a portrait with red hair on a blue background."),
    gettext_noop("Demo model"),
    gettext_noop("Portrait"),
    gettext_noop("Faces for the demo model, which never saw one."),
    gettext_noop("Evening light"),
    gettext_noop("Warm light and dark edges for the demo's portraits."),
))  # fmt: skip


def in_page_language(text: str) -> str:
    """A title or description, translated where it is one of ours."""
    return gettext(text) if text in WORDS else text


def shown_chat_models(caller: Caller) -> list[Listed]:
    """The caller's chat models as pages name them."""
    return [replace(model, title=in_page_language(model.title)) for model in visible_chat_models(caller)]
